//! SOCKS5: what is said to a proxy, byte for byte, and what its answers come to, in whatever pieces they come.

use andon_bitcoin::transport::{Incoming, ProxyFailure, ProxyTarget, Socks5};

/// What was said, and what came to stand behind the last answer.
type Talk = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// A user name and a password, if there are any.
type Login = Option<(&'static str, &'static str)>;

/// Opens a connection and takes the proxy's answers in, each after what asks for it, in pieces.
fn talk(
    target: ProxyTarget<'_>,
    login: Option<(&str, &str)>,
    answers: &[&[u8]],
    piece: usize,
) -> Result<Talk, ProxyFailure> {
    let mut said = vec![Vec::new()];
    let mut socks = Socks5::open(target, login, &mut said[0])?;
    for answer in answers {
        let mut next = Vec::new();
        let mut rest = answer.to_vec();
        let mut rest = rest.as_mut_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(piece.min(rest.len()));
            let mut input = Incoming::new(now);
            if socks.received(&mut input, &mut next)? {
                let behind = [input.rest(), later].concat();
                return Ok((said, Some(behind)));
            }
            assert!(input.rest().is_empty(), "all of it is taken");
            rest = later;
        }
        said.push(next);
    }
    Ok((said, None))
}

const OPEN: &[u8] = &[5, 1, 0];
const OPEN_LOGIN: &[u8] = &[5, 1, 2];
const CONNECTED: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

#[test]
fn what_is_said_is_what_the_rfcs_want() {
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    let requests: [(ProxyTarget<'_>, Vec<u8>); 4] = [
        (ProxyTarget::Address(([203, 0, 113, 5], 8333).into()), vec![5, 1, 0, 1, 203, 0, 113, 5, 0x20, 0x8d]),
        (
            ProxyTarget::Address(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1).into()),
            vec![5, 1, 0, 4, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
        ),
        (ProxyTarget::Host("a.example", 256), [&[5, 1, 0, 3, 9], b"a.example".as_slice(), &[1, 0]].concat()),
        (ProxyTarget::Host(onion, 8333), [&[5, 1, 0, 3, 62], onion.as_bytes(), &[0x20, 0x8d]].concat()),
    ];
    for (target, request) in requests {
        for piece in [1, 3, usize::MAX] {
            let (said, behind) = talk(target, None, &[&[5, 0], CONNECTED], piece).expect("it connects");
            assert_eq!(said, [OPEN, &request]);
            assert_eq!(behind, Some(Vec::new()));
            let login = [&[1, 4], b"user".as_slice(), &[6], b"secret"].concat();
            let answers: [&[u8]; 3] = [&[5, 2], &[1, 0], CONNECTED];
            let (said, behind) =
                talk(target, Some(("user", "secret")), &answers, piece).expect("it connects");
            assert_eq!(said, [OPEN_LOGIN, &login, &request]);
            assert_eq!(behind, Some(Vec::new()));
        }
    }
}

#[test]
fn what_comes_behind_the_answer_is_the_other_end() {
    let host = [&[5, 0, 0, 3, 255], [b'a'; 255].as_slice(), &[1, 2]].concat();
    let empty = [5, 0, 0, 3, 0, 1, 2];
    let v6 = [&[5, 0, 0, 4], [7; 18].as_slice()].concat();
    for answer in [CONNECTED, &host, &empty, &v6] {
        for piece in [1, 2, 5, 100, usize::MAX] {
            let both = [answer, b"hello"].concat();
            let target = ProxyTarget::Host("b.example", 1);
            let (_, behind) = talk(target, None, &[&[5, 0], &both], piece).expect("it connects");
            assert_eq!(behind.as_deref(), Some(b"hello".as_slice()));
            // Nothing short of it is taken for an answer.
            let (_, behind) =
                talk(target, None, &[&[5, 0], &answer[..answer.len() - 1]], piece).expect("it waits");
            assert_eq!(behind, None);
        }
    }
}

#[test]
fn every_failure_has_a_name() {
    use ProxyFailure::*;
    let target = ProxyTarget::Host("c.example", 1);
    let replies = [
        (1, General),
        (2, NotAllowed),
        (3, NetworkUnreachable),
        (4, HostUnreachable),
        (5, Refused),
        (6, Expired),
        (7, CommandNotSupported),
        (8, AddressNotSupported),
        (0xf0, OnionNotFound),
        (0xf1, OnionInvalid),
        (0xf2, OnionNotIntroduced),
        (0xf3, OnionNotMet),
        (0xf4, OnionWantsLogin),
        (0xf5, OnionRefusesLogin),
        (0xf6, OnionAddress),
        (0xf7, OnionExpired),
        (9, Unknown(9)),
        (0xff, Unknown(0xff)),
    ];
    for piece in [1, usize::MAX] {
        for (code, failure) in replies {
            // Some say no more than the code.
            for answer in [[5, code, 0, 1, 0, 0, 0, 0, 0, 0].as_slice(), &[5, code]] {
                assert_eq!(talk(target, None, &[&[5, 0], answer], piece), Err(failure), "code {code}");
            }
            assert!(!failure.to_string().is_empty());
        }
        let login = Some(("u", "p"));
        let table: [(Login, &[&[u8]], ProxyFailure); 11] = [
            (None, &[b"HTTP/1.1 400 Bad Request\r\n"], NotSocks5(b'H')),
            (None, &[&[4, 0]], NotSocks5(4)),
            (None, &[&[5, 0xff]], NoMethod),
            (None, &[&[5, 2]], UnofferedMethod(2)),
            (None, &[&[5, 0], &[4, 0x5a, 0, 0]], NotSocks5(4)),
            (None, &[&[5, 0], &[5, 0, 1, 1]], Malformed),
            (None, &[&[5, 0], &[5, 0, 0, 2]], Malformed),
            // A proxy that asks for no login would not keep connections apart.
            (login, &[&[5, 0]], UnofferedMethod(0)),
            (login, &[&[5, 0xff]], NoMethod),
            (login, &[&[5, 2], &[1, 1]], LoginRefused),
            (login, &[&[5, 2], &[5, 0]], NotSocks5(5)),
        ];
        for (login, answers, failure) in table {
            assert_eq!(talk(target, login, answers, piece), Err(failure), "{answers:?}");
        }
    }
    let long = "a".repeat(256);
    for (target, login, failure) in [
        (ProxyTarget::Host("", 1), None, UnusableName),
        (ProxyTarget::Host(&long, 1), None, UnusableName),
        (target, Some(("", "p")), UnusableLogin),
        (target, Some(("u", long.as_str())), UnusableLogin),
    ] {
        assert_eq!(talk(target, login, &[], 1), Err(failure));
    }
    assert!(talk(ProxyTarget::Host(&long[1..], 1), Some((&long[1..], "p")), &[], 1).is_ok());
}
