//! Tokens: what the system names a socket by when it is ready. They say whose it is, of many that share a wait, and which.

use mio::Token;

/// How many bits are left to the sockets of one driver.
const SOCKET_BITS: u32 = usize::BITS / 2;

/// What interrupts the wait. Of the first driver, which has no socket of this number.
pub(crate) const WAKER: Token = Token(0);

/// The first number that a socket may have.
pub(crate) const FIRST_SOCKET: usize = 1;

/// How many drivers can share a wait.
pub(crate) const MAX_MEMBERS: usize = 1 << SOCKET_BITS;

/// The token of a driver's socket; none: it has too many.
pub(crate) fn token(member: usize, socket: usize) -> Option<Token> {
    (socket < 1 << SOCKET_BITS).then_some(Token(member << SOCKET_BITS | socket))
}

/// Whose socket it is, and which.
pub(crate) fn parts(Token(token): Token) -> (usize, usize) {
    (token >> SOCKET_BITS, token & ((1 << SOCKET_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_which() {
        for member in [0, 1, 1_000, MAX_MEMBERS - 1] {
            for socket in [FIRST_SOCKET, 2, 10_000, (1 << SOCKET_BITS) - 1] {
                let token = token(member, socket).unwrap();
                assert_eq!(parts(token), (member, socket));
                assert_ne!(token, WAKER);
            }
            assert_eq!(token(member, 1 << SOCKET_BITS), None);
        }
    }
}
