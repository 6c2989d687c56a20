//! Enums whose values have stable names: in the database, in responses, as metric labels.

/// Defines an enum, and the stable name of each of its values.
macro_rules! named {
    (
        $(#[$enum_doc:meta])*
        $visibility:vis enum $Enum:ident { $($(#[$doc:meta])* $Value:ident = $name:literal,)+ }
    ) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $Enum { $($(#[$doc])* $Value,)+ }

        impl $Enum {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$Value,)+];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Value => $name,)+ }
            }

            /// The value with this name; `None` for any other text.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == name)
            }
        }

        impl prometheus_client::encoding::EncodeLabelValue for $Enum {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> std::fmt::Result {
                std::fmt::Write::write_str(encoder, self.as_str())
            }
        }
    };
}

pub(crate) use named;
