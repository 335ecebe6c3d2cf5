//! The program finds what is there, says so, and is short.

embed_test::embedding!("embed-bare");
