//! What a thread said when it panicked.

use std::any::Any;

/// The message of a panic.
pub(crate) fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().map_or("no message".into(), |message| message.to_string()),
    }
}
