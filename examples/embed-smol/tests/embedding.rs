//! The program finds what is there, says so, ends in order, and is short.

embed_test::embedding!("embed-smol");
embed_test::interruption!("embed-smol");
