//! The client address of a request.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use chassis::settings::Value;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A network of proxies, such as `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl Value for Network {
    fn parse(_: &str, text: &str) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| "must be a network, such as 10.0.0.0/8, or an address".to_owned())
    }
}

/// Returns the address of the client.
///
/// Only those entries of `X-Forwarded-For` count that trusted proxies have written, because any client can send the header.
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let forwarded: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .collect();
    // The peer wrote the last entry. Each entry before it was written by the proxy that the next entry names.
    for text in forwarded.into_iter().rev() {
        match text.parse::<IpAddr>() {
            Ok(before) if is_trusted(client) => client = before.to_canonical(),
            _ => break,
        }
    }
    client
}

/// Returns the address that a connection is counted for, or `None` for a trusted proxy, because its connections come from
/// many clients.
pub fn of_connection(peer: IpAddr, trusted: &[Network]) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let is_trusted = trusted.iter().any(|network| network.contains(peer));
    (!is_trusted).then(|| limit_key(peer))
}

/// Returns the address that requests are counted for: the network of 64 bits for IPv6, because one host has all of its
/// addresses.
pub fn limit_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().expect("a header"));
        }
        let trusted: Vec<Network> = trusted
            .iter()
            .map(|text| Network::parse("", text).expect("a network"))
            .collect();
        address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_if_a_trusted_proxy_wrote_it() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(
            seen("192.0.2.1", &["198.51.100.7"], &proxies),
            "192.0.2.1",
            "the client sent the header itself"
        );
        assert_eq!(seen("10.0.0.1", &[], &proxies), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"], &proxies), "198.51.100.7");
        assert_eq!(
            seen("10.0.0.1", &["203.0.113.9, 198.51.100.7"], &proxies),
            "198.51.100.7",
            "the client invented the first entry"
        );
        assert_eq!(
            seen("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], &proxies),
            "198.51.100.7"
        );
        assert_eq!(seen("10.0.0.1", &["198.51.100.7, nonsense"], &proxies), "10.0.0.1");
        assert_eq!(seen("::ffff:10.0.0.1", &["2001:db8::1"], &proxies), "2001:db8::1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"], &["10.0.0.1"]), "198.51.100.7");
    }

    #[test]
    fn connections_of_trusted_proxies_are_not_counted() {
        let trusted = [Network::parse("", "10.0.0.0/8").expect("a network")];
        let counted = |peer: &str| {
            let counted = of_connection(peer.parse().expect("an address"), &trusted);
            counted.map(|address| address.to_string())
        };
        assert_eq!(counted("10.1.2.3"), None);
        assert_eq!(counted("::ffff:10.1.2.3"), None);
        assert_eq!(counted("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(counted("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(counted("2001:db8::1").as_deref(), Some("2001:db8::"));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_as_one_client() {
        let key_of = |text: &str| limit_key(text.parse().expect("an address")).to_string();
        assert_eq!(key_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(key_of("192.0.2.1"), "192.0.2.1");
    }
}
