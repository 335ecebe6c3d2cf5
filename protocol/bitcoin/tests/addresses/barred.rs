//! Bans, who is discouraged, and the nodes to dial first.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use andon_bitcoin::addresses::limits::{DISCOURAGED_FOR, MAX_BANS, MAX_DISCOURAGED};
use andon_bitcoin::addresses::{
    ANCHORS, Anchor, Anchors, BANS, Bans, Discouraged, NoSubnet, RowError, Subnet, TooManyBans,
};
use andon_bitcoin::wire::Host;
use andon_kernel::{Instant, Rng};
use bitcoin::p2p::ServiceFlags;

use super::disk::Disk;
use super::people::{DAY, NOW, any, at, v4};

fn ip(text: &str) -> Host {
    Host::Ip(text.parse::<IpAddr>().unwrap())
}

#[test]
fn subnets_are_read_and_shown() {
    for (text, shown) in [
        ("192.0.2.7", Some("192.0.2.7")),
        ("192.0.2.7/32", Some("192.0.2.7")),
        ("192.0.2.7/24", Some("192.0.2.0/24")),
        ("192.0.2.7/0", Some("0.0.0.0/0")),
        ("2001:db8::7", Some("2001:db8::7")),
        ("2001:db8:ffff::7/33", Some("2001:db8:8000::/33")),
        ("2001:db8::7/128", Some("2001:db8::7")),
        ("::/0", Some("::/0")),
        ("::ffff:192.0.2.7", Some("192.0.2.7")),
        ("::ffff:192.0.2.7/128", Some("192.0.2.7")),
        ("::ffff:192.0.2.7/120", Some("192.0.2.0/24")),
        ("::ffff:192.0.2.7/95", Some("::fffe:0:0/95")),
        ("192.0.2.7/33", None),
        ("2001:db8::7/129", None),
        ("192.0.2.7/", None),
        ("192.0.2.7/+8", None),
        ("192.0.2.7/-1", None),
        ("192.0.2.7/300", None),
        ("192.0.2/24", None),
        ("example.org", None),
        ("", None),
        ("/8", None),
    ] {
        let subnet: Result<Subnet, NoSubnet> = text.parse();
        assert_eq!(subnet.ok().map(|subnet| subnet.to_string()).as_deref(), shown, "{text}");
    }
    assert_eq!(Subnet::new(Ipv4Addr::LOCALHOST.into(), 33), None);
}

#[test]
fn a_subnet_holds_what_begins_as_it_does() {
    for (subnet, host, holds) in [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.0/24", "::ffff:192.0.2.1", true),
        ("192.0.2.4/31", "192.0.2.5", true),
        ("192.0.2.4/31", "192.0.2.6", false),
        ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "1.2.3.4", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
    ] {
        let subnet: Subnet = subnet.parse().unwrap();
        assert_eq!(subnet.contains(&ip(host)), holds, "{host} in {subnet}");
        let mut bans = Bans::new();
        bans.ban(subnet, at(NOW + 1), at(NOW)).unwrap();
        assert_eq!(bans.is_banned(&ip(host), at(NOW)), holds, "{host} in {subnet}");
        assert!(!bans.is_banned(&ip(host), at(NOW + 1)), "it has ended");
    }
    let tor = Subnet::host(&Host::TorV3([1; 32]));
    assert!(tor.contains(&Host::TorV3([1; 32])));
    assert!(!tor.contains(&Host::TorV3([2; 32])) && !tor.contains(&Host::I2p([1; 32])));
}

#[test]
fn bans_end_are_lifted_and_stored() {
    let (mut bans, mut disk) = (Bans::new(), Disk::default());
    let subnets: Vec<Subnet> = vec![
        "192.0.2.0/24".parse().unwrap(),
        "192.0.2.1".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
        Subnet::host(&Host::TorV3([1; 32])),
        Subnet::host(&Host::I2p([1; 32])),
        Subnet::host(&Host::Cjdns("fc00::1".parse().unwrap())),
    ];
    for (day, subnet) in subnets.iter().enumerate() {
        bans.ban(*subnet, at(NOW + (day as u64 + 1) * DAY), at(NOW)).unwrap();
    }
    let read = |disk: &Disk| {
        let mut bans = Bans::new();
        disk.rows(BANS).iter().for_each(|(key, value)| bans.take(key, value).unwrap());
        bans
    };
    let list = |bans: &Bans| bans.iter().map(|(subnet, ban)| (*subnet, *ban)).collect::<Vec<_>>();
    disk.write(|batch| bans.store(batch));
    assert_eq!(list(&read(&disk)), list(&bans));
    assert_eq!(bans.iter().len(), 6);
    // A change costs a row.
    assert!(bans.lift(&subnets[0]) && !bans.lift(&subnets[0]));
    assert!(bans.is_banned(&ip("192.0.2.1"), at(NOW)), "it has a ban of its own");
    assert!(!bans.is_banned(&ip("192.0.2.2"), at(NOW)));
    assert_eq!(disk.write(|batch| bans.store(batch)), 1);
    bans.ban(subnets[1], at(NOW + 9 * DAY), at(NOW + 1)).unwrap();
    bans.sweep(at(NOW + 3 * DAY));
    assert_eq!(bans.iter().len(), 4);
    disk.write(|batch| bans.store(batch));
    let stored = read(&disk);
    assert_eq!(list(&stored), list(&bans));
    assert!(stored.is_banned(&ip("192.0.2.1"), at(NOW + 8 * DAY)));
    assert!(stored.is_banned(&Host::TorV3([1; 32]), at(NOW + 3 * DAY)));
    assert!(!stored.is_banned(&ip("2001:db8::1"), at(NOW)));
}

#[test]
fn rows_that_are_no_bans_are_refused() {
    let mut bans = Bans::new();
    let mut disk = Disk::default();
    for subnet in ["192.0.2.0/24", "2001:db8::/32"] {
        bans.ban(subnet.parse().unwrap(), at(NOW), at(NOW)).unwrap();
    }
    bans.ban(Subnet::host(&Host::TorV3([1; 32])), at(NOW), at(NOW)).unwrap();
    disk.write(|batch| bans.store(batch));
    let mut rng = Rng::new([1; 32]);
    for (key, value) in disk.rows(BANS) {
        for at in 0..key.len() + value.len() {
            let (mut key, mut value) = (key.clone(), value.clone());
            let byte = if at < key.len() { &mut key[at] } else { &mut value[at - key.len()] };
            *byte ^= 1 << rng.below(8);
            assert_eq!(Bans::new().take(&key, &value), Err(RowError::Damaged));
        }
        for length in 0..value.len() {
            assert_eq!(Bans::new().take(&key, &value[..length]), Err(RowError::Damaged));
        }
    }
}

#[test]
fn bans_are_bounded() {
    let mut bans = Bans::new();
    let subnet = |index: u32| Subnet::host(&any(index).host);
    for index in 0..MAX_BANS as u32 {
        bans.ban(subnet(index), at(NOW + u64::from(index % 2) * DAY + 1), at(NOW)).unwrap();
    }
    let one_more = subnet(MAX_BANS as u32);
    assert_eq!(bans.ban(one_more, at(NOW + DAY), at(NOW)), Err(TooManyBans));
    assert_eq!(bans.ban(subnet(0), at(NOW + 2), at(NOW)), Ok(()), "it is there");
    // Half of them end.
    assert_eq!(bans.ban(one_more, at(NOW + DAY), at(NOW + 2)), Ok(()));
    assert_eq!(bans.iter().len(), MAX_BANS / 2 + 1);
}

#[test]
fn the_discouraged_are_forgotten_in_time() {
    let start = Instant::from_micros(5);
    let mut discouraged = Discouraged::new();
    assert!(discouraged.is_empty() && !discouraged.contains(&ip("8.8.8.8"), start));
    discouraged.add(&ip("8.8.8.8"), start);
    let holds = |discouraged: &Discouraged, text, days: f64| {
        discouraged.contains(&ip(text), start + DISCOURAGED_FOR.mul_f64(days))
    };
    for (days, expected) in
        [(0.0, true), (0.99, true), (1.5, true), (1.99, true), (2.0, false), (50.0, false)]
    {
        assert_eq!(holds(&discouraged, "8.8.8.8", days), expected, "after {days} days");
    }
    assert!(holds(&discouraged, "::ffff:8.8.8.8", 0.0) && !holds(&discouraged, "8.8.8.9", 0.0));
    // Another one half a day later is remembered as long as itself, give or take a day.
    discouraged.add(&ip("9.9.9.9"), start + DISCOURAGED_FOR.mul_f64(1.5));
    assert!(holds(&discouraged, "8.8.8.8", 1.6) && !holds(&discouraged, "8.8.8.8", 2.1));
    assert!(holds(&discouraged, "9.9.9.9", 2.4) && !holds(&discouraged, "9.9.9.9", 3.6));
    discouraged.add(&ip("1.1.1.1"), start + DISCOURAGED_FOR * 100);
    assert_eq!(discouraged.len(), 1);
}

#[test]
fn the_discouraged_are_bounded() {
    let now = Instant::from_micros(5);
    let mut discouraged = Discouraged::new();
    for index in 0..3 * MAX_DISCOURAGED as u32 {
        discouraged.add(&any(index).host, now);
        assert!(discouraged.len() <= MAX_DISCOURAGED);
        // The last few thousand are remembered whoever else came.
        let before = index.saturating_sub(MAX_DISCOURAGED as u32 / 2 - 1);
        assert!(discouraged.contains(&any(before).host, now));
    }
    assert!(!discouraged.contains(&any(0).host, now + Duration::ZERO));
}

#[test]
fn anchors_are_two_and_stored() {
    let anchor = |index| Anchor { location: any(index), services: ServiceFlags::from(u64::from(index)) };
    let (mut anchors, mut disk) = (Anchors::new(), Disk::default());
    let read = |disk: &Disk| {
        let mut anchors = Anchors::new();
        let errors =
            disk.rows(ANCHORS).iter().filter_map(|(key, value)| anchors.take(key, value).err()).count();
        (anchors, errors)
    };
    anchors.set(&[anchor(1), anchor(2), anchor(3)]);
    assert_eq!(disk.write(|batch| anchors.store(batch)), 2);
    assert_eq!(read(&disk).0.get(), [anchor(1), anchor(2)]);
    anchors.set(&[anchor(1), anchor(2)]);
    assert_eq!(disk.write(|batch| anchors.store(batch)), 0);
    anchors.remove(&any(1));
    assert_eq!(disk.write(|batch| anchors.store(batch)), 2);
    assert_eq!(read(&disk).0.get(), [anchor(2)]);
    // Read back, and emptied.
    let (mut anchors, _) = read(&disk);
    anchors.remove(&any(2));
    disk.write(|batch| anchors.store(batch));
    assert_eq!((read(&disk).0.get(), disk.rows(ANCHORS).len()), ([].as_slice(), 0));
    // Damaged rows, and rows that can't be, are left out and go when others come.
    anchors.set(&[anchor(4), Anchor { location: v4(10, 0, 0, 1), ..anchor(5) }]);
    disk.write(|batch| anchors.store(batch));
    let (mut anchors, errors) = read(&disk);
    assert_eq!((anchors.get(), errors), ([anchor(4)].as_slice(), 1));
    anchors.set(&[anchor(6)]);
    disk.write(|batch| anchors.store(batch));
    assert_eq!(disk.rows(ANCHORS).len(), 1);
    for (key, value) in disk.rows(ANCHORS) {
        for length in 0..value.len() {
            assert_eq!(Anchors::new().take(&key, &value[..length]), Err(RowError::Damaged));
        }
        assert_eq!(Anchors::new().take(b"x", &value), Err(RowError::Damaged));
    }
}
