//! The program finds what is there, says so, ends in order, and is short.

embed_test::embedding!("embed-tokio");
embed_test::interruption!("embed-tokio");
