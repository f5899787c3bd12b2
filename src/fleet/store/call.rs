//! What a store is asked, and what it answers: one transaction that reads, compares and writes. The only thing that a
//! store has to be able to do.

/// One transaction: if all of `when` holds, everything is written and read at once; if not, nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Keys and the revisions of the writes that they must still have; 0: the key must not exist.
    pub when: Vec<(String, u64)>,
    /// Keys and values to be written.
    pub put: Vec<(String, Vec<u8>)>,
    /// Keys to be deleted.
    pub delete: Vec<String>,
    /// What is to be read.
    pub read: Vec<Range>,
}

/// Keys that are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The key, or the beginning that all keys have.
    pub key: String,
    /// Whether it is a beginning.
    pub is_prefix: bool,
    /// Only keys that were written after this revision; 0: all.
    pub newer_than: u64,
}

/// A key as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision of the write that it has its value from.
    pub revision: u64,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out.
    Done {
        /// The revision of the store; what was written has it.
        revision: u64,
        /// What was read, by range.
        items: Vec<Vec<Item>>,
    },
    /// Something had changed: nothing was written.
    Refused,
    /// There is no answer: it may have been carried out or not.
    Failed(Failure),
}

/// How a store is spoken to: what is between a [`Call`] and the bytes that Envoy carries, by one unary call of gRPC.
///
/// What the rest of this folder takes for granted of a store: one call is one transaction over several keys, of which no other
/// sees a part; each that writes raises one revision of the whole store, which keys and answers have; a beginning of keys can be
/// read, in the order of the keys, also as far as it was written after a revision; and nothing is answered from the past.
pub trait Engine {
    /// The service.
    const SERVICE: &'static str;
    /// The method for all calls.
    const METHOD: &'static str;

    /// The message for a call.
    fn encode(call: &Call) -> Vec<u8>;

    /// What the message says that came back to a call. Whatever it is: it may come from anywhere.
    fn decode(call: &Call, message: &[u8]) -> Answer;

    /// What a status of gRPC other than 0 means. `has_timed_out`: nothing has come in the time that an answer has.
    fn failure(status: u32, has_timed_out: bool) -> Failure;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Failure {
    /// No connection, or the store cannot serve.
    Unreachable,
    /// It did not come in time.
    Timeout,
    /// The store has no space.
    Full,
    /// The client may not do that.
    Denied,
    /// The answer cannot be read.
    Garbled,
    /// Envoy does not send it.
    NotSent,
    /// Another error.
    Other,
}

impl Failure {
    /// The value of the label `result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::Denied => "denied",
            Self::Garbled => "garbled",
            Self::NotSent => "not_sent",
            Self::Other => "other",
        }
    }

    /// The failure in one sentence, and what to look at.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "the store cannot be reached: look at the cluster's endpoints, and at its certificate if it has one"
            }
            Self::Timeout => "the store does not answer in time",
            Self::Full => {
                "the store is full and takes no writes: compact and defragment it, disarm its alarm, and have it compact by itself"
            }
            Self::Denied => {
                "the store refuses this client: its role needs to read and write the fleet's prefix"
            }
            Self::Garbled => "the store's answer cannot be read: check that the cluster is etcd",
            Self::NotSent => "Envoy does not send the call: check that the cluster exists",
            Self::Other => "the store answers with an error",
        }
    }
}
