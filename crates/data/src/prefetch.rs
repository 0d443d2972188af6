//! An iterator run ahead of its consumer on a thread of its own.

use crate::panicked::message;
use candle_core::{Error, Result};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Yields what `items` yields, in the same order, with up to `depth` of them prepared ahead.
///
/// Dropping it stops the thread after its current item and joins it. If `items` panics, the panic's message comes
/// out as an `Err` after the items before it.
pub(crate) struct Prefetch<T> {
    ready: Option<Receiver<Result<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the thread; `depth` is at least 1.
    pub(crate) fn new(depth: usize, items: impl Iterator<Item = Result<T>> + Send + 'static) -> Result<Self> {
        // The blocked sender holds one item, so the channel holds the others.
        let (sender, ready) = sync_channel(depth - 1);
        let thread = Builder::new().name("prefetch".into()).spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    return; // the consumer is gone
                }
            }
        })?;
        Ok(Self { ready: Some(ready), thread: Some(thread) })
    }
}

impl<T> Prefetch<T> {
    /// Waits for the thread, which has nothing more to send.
    fn join(&mut self) -> Result<()> {
        let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) else { return Ok(()) };
        Err(Error::Msg(format!("preparing a batch on the background thread panicked: {}", message(panic))))
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.ready.as_ref()?.recv() {
            Ok(item) => Some(item),
            Err(_) => {
                self.ready = None;
                self.join().err().map(Err)
            }
        }
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.ready = None; // a thread that is blocked on sending returns
        let _ = self.join(); // a panic in an item that was not consumed has no receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn yields_the_same_in_the_same_order() -> Result<()> {
        for depth in [1, 2, 7] {
            let items: Vec<usize> = Prefetch::new(depth, (0..50).map(Ok))?.collect::<Result<_>>()?;
            assert_eq!(items, (0..50).collect::<Vec<_>>());
        }
        Ok(())
    }

    #[test]
    fn runs_no_further_ahead_than_its_depth_and_stops_when_dropped() -> Result<()> {
        let made = Arc::new(AtomicUsize::new(0));
        let alive = Arc::downgrade(&made);
        let mut ahead = Prefetch::new(3, {
            let made = made.clone();
            (0..).map(move |i: usize| {
                made.fetch_add(1, Ordering::SeqCst);
                Ok(i)
            })
        })?;
        assert_eq!(ahead.next().transpose()?, Some(0));
        assert_eq!(ahead.next().transpose()?, Some(1));
        drop(ahead); // endless, so this returns only if the thread stops on request
        assert!(made.load(Ordering::SeqCst) <= 2 + 3, "{made:?}");
        drop(made);
        assert!(alive.upgrade().is_none(), "the thread was joined and its iterator is gone");
        Ok(())
    }

    #[test]
    fn a_panic_is_an_error_after_the_items_before_it_and_then_the_end() -> Result<()> {
        let items = (0..5).map(|i| if i == 2 { panic!("item {i} is cursed") } else { Ok(i) });
        let mut ahead = Prefetch::new(2, items)?;
        assert_eq!(ahead.next().transpose()?, Some(0));
        assert_eq!(ahead.next().transpose()?, Some(1));
        let error = ahead.next().transpose().unwrap_err().to_string();
        assert!(error.contains("item 2 is cursed"), "{error}");
        assert!(ahead.next().is_none());
        Ok(())
    }
}
