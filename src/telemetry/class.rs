//! The class of a status.

/// The class of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 100 to 199: an upgrade.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
    /// No status: the client left before there was one.
    None,
    /// A status outside of 100 to 599.
    Other,
}

impl Class {
    /// All classes, in the order of their [`Class::index`].
    pub const ALL: [Class; 7] = [
        Class::Informational,
        Class::Success,
        Class::Redirection,
        Class::ClientError,
        Class::ServerError,
        Class::None,
        Class::Other,
    ];

    /// The class of a status, if there was one.
    #[must_use]
    pub fn of(status: Option<u64>) -> Self {
        match status {
            None | Some(0) => Class::None,
            Some(100..=199) => Class::Informational,
            Some(200..=299) => Class::Success,
            Some(300..=399) => Class::Redirection,
            Some(400..=499) => Class::ClientError,
            Some(500..=599) => Class::ServerError,
            Some(_) => Class::Other,
        }
    }

    /// The value of the label `class`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Class::Informational => "1xx",
            Class::Success => "2xx",
            Class::Redirection => "3xx",
            Class::ClientError => "4xx",
            Class::ServerError => "5xx",
            Class::None => "none",
            Class::Other => "other",
        }
    }

    /// The position in [`Class::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_where_their_indices_say() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), at);
        }
        let classes =
            [None, Some(0), Some(101), Some(200), Some(302), Some(499), Some(599), Some(600), Some(99)];
        let labels = classes.map(|status| Class::of(status).label());
        assert_eq!(labels, ["none", "none", "1xx", "2xx", "3xx", "4xx", "5xx", "other", "other"]);
    }
}
