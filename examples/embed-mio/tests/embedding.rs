//! The program finds what is there, says so, ends in order, and is short.

embed_test::embedding!("embed-mio");
embed_test::interruption!("embed-mio");
