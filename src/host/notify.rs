//! Notifications, as callouts of Envoy from a root. Those of a root that goes end unanswered.

use std::cell::RefCell;

use super::callouts::{self, Callout};
use super::calls;
use super::shared::Kv;
use crate::abi::callouts::Callouts;
use crate::abi::pairs;
use crate::control::notification;
use crate::fleet::effect::Post;
use crate::fleet::joined;
use crate::fleet::outbox::Delivery;

/// Notifications that are on their way from one VM.
#[derive(Default)]
pub(super) struct Posts {
    open: RefCell<Callouts<Box<Post>>>,
}

impl Posts {
    /// Posts, from a callback of `root`. Returns the post and what became of it if that is known at once.
    pub(super) fn send(&self, root: u32, post: Box<Post>) -> Option<(Box<Post>, Delivery)> {
        let receiver = &post.receiver;
        let headers = [
            (":method", "POST"),
            (":path", &receiver.path),
            (":authority", receiver.host()),
            ("content-type", notification::CONTENT_TYPE),
            ("user-agent", "changeover"),
        ];
        let document = notification::document(&post, &node());
        let timeout = u32::try_from(receiver.timeout.as_millis()).unwrap_or(u32::MAX);
        let (cluster, headers) = (receiver.cluster.clone(), pairs::write(&headers));
        let callout = Callout { cluster: &cluster, headers: &headers, body: document.as_bytes(), timeout };
        callouts::end_overdue(&self.open);
        callouts::send(&self.open, root, &callout, post).err().map(|post| (post, Delivery::Failed))
    }

    /// The answer to a callout has come; `status`: none if none did. `None`: it is not one of a notification.
    pub(super) fn answered(&self, token: u32, status: Option<u64>) -> Option<(Box<Post>, Delivery)> {
        let post = self.open.borrow_mut().end(token)?;
        Some((post, Delivery::of(status)))
    }

    /// A root goes: Envoy drops its callouts.
    pub(super) fn leave(&self, root: u32) -> Vec<Post> {
        callouts::end_of_root(&self.open, root).into_iter().map(|post| *post).collect()
    }
}

/// The name of this Envoy: its node's id, or where it has none a name that it drew.
fn node() -> String {
    let id = calls::property("node\0id");
    match id.as_deref().map(String::from_utf8_lossy) {
        Some(id) if !id.is_empty() => id.into_owned(),
        _ => joined::life(&mut Kv, calls::entropy()).name(),
    }
}
