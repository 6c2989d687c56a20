//! Serde formats of settings that are not plain TOML values.

/// Durations: humantime text, or a plain number of seconds.
pub(super) mod duration {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }

    struct DurationVisitor;

    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration")
        }

        fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
            u64::try_from(seconds)
                .map(Duration::from_secs)
                .map_err(|_| E::custom(format_args!("{seconds} is not a valid duration")))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            let text = text.trim();
            // A variable cannot hold a TOML number.
            text.parse()
                .map(Duration::from_secs)
                .or_else(|_| humantime::parse_duration(text))
                .map_err(|error| {
                    E::custom(format_args!("`{text}` is not a valid duration: {error}"))
                })
        }
    }

    /// The shortest form in a single unit. (humantime would write 90 days as months and a
    /// remainder.)
    pub(crate) fn format_duration(duration: Duration) -> String {
        let millis = duration.as_millis();
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")]
            .into_iter()
            .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
            .map_or_else(
                || {
                    if millis == 0 { String::from("0s") } else { format!("{millis}ms") }
                },
                |(unit, name)| format!("{}{name}", millis / unit),
            )
    }
}

/// A secret: empty text means none, and it is hidden when serialised.
pub(super) mod hidden {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::Secret;

    pub(crate) const MASK: &str = "[secret]";

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Secret<String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if value.is_some() { MASK } else { "" })
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret<String>>, D::Error> {
        // serde's own error would quote the value.
        let text =
            String::deserialize(deserializer).map_err(|_| D::Error::custom("it is not text"))?;
        Ok((!text.is_empty()).then(|| Secret::new(text)))
    }
}

/// A URL that may hold a secret: hidden unless it has no part that could hold one.
pub(super) mod secret_url {
    use serde::Serializer;

    pub(crate) use super::hidden::deserialize;
    use crate::secret::Secret;

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Secret<String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value.as_ref().map(Secret::expose) {
            Some(url) if !url.contains(['@', '?']) => serializer.serialize_str(url),
            _ => super::hidden::serialize(value, serializer),
        }
    }
}

/// An address and port; empty text means none.
pub(super) mod address {
    use std::net::SocketAddr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.map(|it| it.to_string()).unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = || {
            text.parse().map_err(|_| {
                D::Error::custom(format_args!("`{text}` is not an address with a port"))
            })
        };
        if text.is_empty() { Ok(None) } else { parse().map(Some) }
    }
}

/// Networks; a bare address is a network of one.
pub(super) mod networks {
    use std::net::IpAddr;

    use ipnet::{IpNet, Ipv4Net};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        list.iter()
            .map(|text| {
                let address = text.parse::<IpAddr>().map(IpNet::from);
                let network = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
                    D::Error::custom(format_args!("`{text}` is neither an address nor a network"))
                });
                network.map(canonical)
            })
            .collect()
    }

    /// IPv4 addresses mapped to IPv6 (`::ffff:10.0.0.0/104`) as the IPv4 network that they are: a
    /// client's address is compared in that form.
    fn canonical(network: IpNet) -> IpNet {
        let IpNet::V6(mapped) = network else { return network };
        let address = mapped.addr().to_ipv4_mapped();
        let prefix = mapped.prefix_len().checked_sub(96);
        let ipv4 = address.zip(prefix).map(|(address, prefix)| Ipv4Net::new(address, prefix));
        ipv4.and_then(Result::ok).map_or(network, IpNet::V4)
    }
}
