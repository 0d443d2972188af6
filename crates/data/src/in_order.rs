//! A function of many indices, computed by several threads, its values in order.

use crate::panicked::message;
use candle_core::{Error, Result};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Yields `make(0)`, `make(1)`, … up to a count, computed by worker threads ahead of the consumer.
///
/// The values do not depend on the number of threads, and come in order. A panic of `make` comes out as the `Err`
/// of its index. Dropping it stops each worker after its current value, and joins them.
pub(crate) struct InOrder<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    /// The number of values that are not taken yet.
    left: usize,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// A value was taken, or it is over: workers wait for it.
    taken: Condvar,
    /// A value is there: the consumer waits for it.
    made: Condvar,
}

struct Queue<T> {
    /// The values from index `first` on that workers compute (`None`) or have computed.
    ahead: VecDeque<Option<Result<T>>>,
    first: usize,
    stopped: bool,
}

impl<T: Send + 'static> InOrder<T> {
    /// Starts `workers` threads, at least 1, which compute up to `most` values ahead, at least 1: being computed or
    /// waiting to be taken.
    pub(crate) fn new(
        workers: usize,
        most: usize,
        count: usize,
        make: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let queue = Mutex::new(Queue { ahead: VecDeque::new(), first: 0, stopped: false });
        let shared = Arc::new(Shared { queue, taken: Condvar::new(), made: Condvar::new() });
        let make = Arc::new(make);
        let mut all = Self { shared, workers: Vec::new(), left: count }; // joined if a thread cannot start
        for _ in 0..workers.min(most).min(count) {
            let (shared, make) = (all.shared.clone(), make.clone());
            let work = move || {
                while let Some(index) = shared.claim(most, count) {
                    let value = catch_unwind(AssertUnwindSafe(|| make(index)));
                    shared.put(
                        index,
                        value.unwrap_or_else(|panic| Err(Error::Msg(format!("a worker panicked: {}", message(panic))))),
                    );
                }
            };
            all.workers.push(Builder::new().name("pictures".into()).spawn(work)?);
        }
        Ok(all)
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a value may be computed, and says which; `None` when there is no more to do.
    fn claim(&self, most: usize, count: usize) -> Option<usize> {
        let full = |queue: &mut Queue<T>| !queue.stopped && queue.ahead.len() == most;
        let mut queue = self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        let index = queue.first + queue.ahead.len();
        if queue.stopped || index == count {
            return None;
        }
        queue.ahead.push_back(None);
        Some(index)
    }

    fn put(&self, index: usize, value: Result<T>) {
        let mut queue = self.lock();
        let place = index - queue.first; // the consumer takes nothing that is not there
        queue.ahead[place] = Some(value);
        self.made.notify_one();
    }
}

impl<T> Iterator for InOrder<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.left = self.left.checked_sub(1)?;
        let absent = |queue: &mut Queue<T>| !matches!(queue.ahead.front(), Some(Some(_)));
        let waited = self.shared.made.wait_while(self.shared.lock(), absent);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.first += 1;
        let value = queue.ahead.pop_front().flatten();
        self.shared.taken.notify_one();
        value
    }
}

impl<T> Drop for InOrder<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // its panics are values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn values_come_in_order_for_any_number_of_threads() -> Result<()> {
        for (workers, most) in [(1, 1), (1, 5), (2, 1), (3, 2), (4, 50), (7, 200)] {
            let slow_then_fast = |i: usize| {
                std::thread::sleep(Duration::from_micros((i * 7919 % 13) as u64 * 20));
                Ok(i * i)
            };
            let values: Vec<usize> = InOrder::new(workers, most, 100, slow_then_fast)?.collect::<Result<_>>()?;
            assert_eq!(values, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
        assert!(InOrder::new(2, 2, 0, Ok)?.next().is_none());
        Ok(())
    }

    #[test]
    fn no_more_values_are_ahead_than_allowed_and_dropping_it_stops_and_joins() -> Result<()> {
        let made = Arc::new(AtomicUsize::new(0));
        let alive = Arc::downgrade(&made);
        let mut values = InOrder::new(3, 4, usize::MAX, {
            let made = made.clone();
            move |i| {
                made.fetch_add(1, Ordering::SeqCst);
                Ok(i)
            }
        })?;
        assert_eq!(values.next().transpose()?, Some(0));
        assert_eq!(values.next().transpose()?, Some(1));
        std::thread::sleep(Duration::from_millis(20));
        assert!(made.load(Ordering::SeqCst) <= 2 + 4, "{made:?}");
        drop(values); // endless, so this returns only if the threads stop on request
        drop(made);
        assert!(alive.upgrade().is_none(), "the threads were joined");
        Ok(())
    }

    #[test]
    fn a_panic_is_the_error_of_its_index_and_the_others_come() -> Result<()> {
        let make = |i| if i == 2 { panic!("index {i} is cursed") } else { Ok(i) };
        let values: Vec<Result<usize>> = InOrder::new(2, 3, 5, make)?.collect();
        assert_eq!(values.len(), 5);
        for (i, value) in values.into_iter().enumerate() {
            match value {
                Ok(value) => assert!(value == i && i != 2),
                Err(error) => assert!(i == 2 && error.to_string().contains("index 2 is cursed"), "{error}"),
            }
        }
        Ok(())
    }
}
