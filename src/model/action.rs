//! What can happen to a rollout.

use serde::{Deserialize, Serialize};

/// What can happen to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Action {
    /// A run began.
    Start,
    /// A step began.
    Step,
    /// The last step, or the watch after a flip, has ended.
    Succeed,
    /// The judge rolled the candidate back.
    Rollback,
    /// A command rolled the candidate back.
    Abort,
    /// The run waits for a command: it was paused.
    Pause,
    /// It continues.
    Resume,
    /// Another attempt began.
    Retry,
    /// Something needs attention; nothing was changed.
    Alarm,
    /// An alarm is over.
    Clear,
    /// All traffic moved from one side to the other.
    Flip,
    /// A configuration push, or weights set by command, changed the run.
    Change,
}

impl Action {
    /// The value of the label `action`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Step => "step",
            Self::Succeed => "succeed",
            Self::Rollback => "rollback",
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Alarm => "alarm",
            Self::Clear => "clear",
            Self::Flip => "flip",
            Self::Change => "change",
        }
    }
}
