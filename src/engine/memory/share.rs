//! What one statement has of the memory that all queries share.

use std::fmt;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::portion::{Bounds, Portion, leave_room};
use crate::engine::run::Control;
use crate::error::Result;

/// `runtime` for one statement: what it reserves is counted in `control`, and once it is stopped it gets nothing more. With
/// `bounds` it gets no more than these.
pub(in crate::engine) fn shared_by(
    runtime: &RuntimeEnv,
    control: &Control,
    bounds: Option<Bounds>,
) -> Result<Arc<RuntimeEnv>> {
    let (pool, portion) = (Arc::clone(&runtime.memory_pool), bounds.map(Portion::new));
    let share = Share { pool, control: control.clone(), portion };
    let runtime = RuntimeEnvBuilder::from_runtime_env(runtime).with_memory_pool(Arc::new(share));
    Ok(Arc::new(runtime.build()?))
}

#[derive(Debug)]
struct Share {
    pool: Arc<dyn MemoryPool>,
    control: Control,
    portion: Option<Portion>,
}

impl Share {
    /// Whether other statements have some of the memory.
    fn has_others(&self) -> bool {
        self.pool.reserved() > self.control.reserved()
    }
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.control.reserve(additional);
        if let Some(portion) = &self.portion {
            portion.take(additional);
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.control.give_back(shrink);
        if let Some(portion) = &self.portion {
            portion.give_back(shrink);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<(), DataFusionError> {
        self.control.check()?;
        match &self.portion {
            Some(portion) => portion.try_take(reservation, additional)?,
            None if self.has_others() => leave_room(self.pool.as_ref(), reservation, additional)?,
            None => {}
        }
        if let Err(error) = self.pool.try_grow(reservation, additional) {
            if let Some(portion) = &self.portion {
                portion.give_back(additional);
            }
            return Err(error);
        }
        self.control.reserve(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::FairSpillPool;

    use super::*;
    use crate::error::Error;

    #[test]
    fn what_a_statement_reserves_is_counted_and_ends_when_it_is_stopped() {
        let pool = Arc::new(FairSpillPool::new(1000));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build().unwrap();
        let (one, other) = (Control::default(), Control::default());
        let of = |control| Arc::clone(&shared_by(&runtime, control, None).unwrap().memory_pool);
        let (pool, others) = (of(&one), of(&other));
        let reservation = MemoryConsumer::new("a").register(&pool);
        let rest = MemoryConsumer::new("b").register(&others);
        reservation.try_grow(600).unwrap();
        rest.try_grow(300).unwrap();
        assert!(rest.try_grow(300).is_err(), "they share one limit");
        assert_eq!((one.reserved(), other.reserved()), (600, 300));
        one.stop(Error::exhausted("enough"));
        assert!(reservation.try_grow(1).unwrap_err().to_string().contains("enough"));
        rest.try_grow(50).unwrap();
        drop(reservation);
        assert_eq!((one.reserved(), other.reserved()), (0, 350));
    }

    #[test]
    fn merges_leave_room_for_other_statements() {
        let pool = Arc::new(FairSpillPool::new(6400));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build().unwrap();
        let (one, other) = (Control::default(), Control::default());
        let of = |control| Arc::clone(&shared_by(&runtime, control, None).unwrap().memory_pool);
        let (pool, others) = (of(&one), of(&other));
        let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
        let batches = MemoryConsumer::new("batches").register(&others);
        merge.try_grow(6400).unwrap();
        merge.shrink(900);
        batches.try_grow(100).unwrap();
        assert!(merge.try_grow(1).is_err(), "an eighth is left");
        let second = MemoryConsumer::new("ExternalSorterMerge[1]").register(&pool);
        second.try_grow(100).unwrap();
        assert!(second.try_grow(1).is_err(), "it has enough for two runs");
        batches.try_grow(700).unwrap();
    }

    #[test]
    fn a_statement_gets_no_more_than_its_bounds_and_each_sort_its_share() {
        let pool = Arc::new(FairSpillPool::new(1000));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build().unwrap();
        let control = Control::default();
        let bounds = Some(Bounds { all: 800, sorts: 4 });
        let pool = Arc::clone(&shared_by(&runtime, &control, bounds).unwrap().memory_pool);
        let of = |consumer: MemoryConsumer| consumer.register(&pool);
        let sort = of(MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true));
        let (merge, other) =
            (of(MemoryConsumer::new("ExternalSorterMerge[0]")), of(MemoryConsumer::new("join")));
        assert!(sort.try_grow(101).is_err(), "half is for what sorts gather");
        sort.try_grow(100).unwrap();
        assert!(merge.try_grow(201).is_err());
        merge.try_grow(200).unwrap();
        assert!(other.try_grow(501).is_err());
        other.try_grow(500).unwrap();
        assert_eq!(control.reserved(), 800);
        drop(other);
        // What others have is not to be had either, and costs nothing of the portion.
        let others = MemoryConsumer::new("another statement's").register(&runtime.memory_pool);
        others.try_grow(650).unwrap();
        let other = of(MemoryConsumer::new("join"));
        assert!(other.try_grow(100).is_err());
        drop(others);
        other.try_grow(500).unwrap();
        assert_eq!(control.reserved(), 800);
    }
}
