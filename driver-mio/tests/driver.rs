//! The suite that every driver passes, over this one.

andon_driver_conformance::conformance!(andon_mio::Driver);
