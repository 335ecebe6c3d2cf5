//! The suite that every driver passes, over this one on a thread of its own.

andon_driver_conformance::conformance!(andon_smol::Driver);
