//! Where a request is sent to: a host, and perhaps a port.

use std::net::{IpAddr, Ipv6Addr};

/// `models.example.com` of `models.example.com:8080`, `[::1]` of `[::1]:8080`; `None` where there is no port.
#[must_use]
pub fn without_port(authority: &[u8]) -> Option<&[u8]> {
    let colon = authority.iter().rposition(|byte| *byte == b':')?;
    let (host, port) = authority.split_at_checked(colon)?;
    let is_port = port.len() > 1 && port.iter().skip(1).all(u8::is_ascii_digit);
    // The colons of an address in brackets are not a port's.
    let in_brackets = host.first() == Some(&b'[') && host.last() != Some(&b']');
    (is_port && !in_brackets).then_some(host)
}

/// Whether a host, or an address as Envoy's configuration has it, is of this machine alone.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_of_digits_behind_a_host() {
        for (authority, host) in [
            ("models.example.com:8080", Some("models.example.com")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1]", None),
            ("models.example.com", None),
            ("models:", None),
            ("models:x", None),
            ("", None),
        ] {
            assert_eq!(without_port(authority.as_bytes()), host.map(str::as_bytes), "{authority}");
        }
    }

    #[test]
    fn loopback_is_a_name_or_an_address_of_either_form() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "0:0:0:0:0:0:0:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "0.0.0.0", "::", "[127.0.0.1]", "[::2]", "[::1", "localhost.example.com", "127.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
