//! Metric definitions are statics; their values live in per-thread blocks of relaxed atomics.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cells one thread can hold: every counter and gauge takes one, every histogram `HISTOGRAM_CELLS`.
pub const CELLS_MAX: usize = 8192;
/// Upper bounds are 1, 2, 4 ... 2^26 units; one more bucket holds the rest.
const BUCKETS: usize = 28;
const HISTOGRAM_CELLS: usize = BUCKETS + 1;
/// `first_cell` of a definition that nobody has touched yet. Cell 0 is never given out.
const UNREGISTERED: u32 = 0;

/// One thread's values. Only the thread that took the block writes it; anyone may read.
struct Block {
    cells: Box<[AtomicU64]>,
}

impl Block {
    fn new() -> Arc<Block> {
        Arc::new(Block { cells: (0..CELLS_MAX).map(|_| AtomicU64::new(0)).collect() })
    }

    /// Single writer, so load and store need no locked instruction. Gauges rely on the wrap-around.
    fn add(&self, cell: u32, n: u64) {
        let cell = &self.cells[cell as usize];
        cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

struct Registry {
    blocks: Vec<Arc<Block>>,
    /// Blocks of ended threads, values included: the next thread goes on counting in them.
    idle: Vec<Arc<Block>>,
    metrics: Vec<Registered>,
    next_cell: u32,
}

#[derive(Clone, Copy)]
struct Registered {
    definition: &'static Definition,
    kind: Kind,
    first_cell: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    /// Units per rendered unit, e.g. 1_000_000 when microseconds are observed and seconds rendered.
    Histogram {
        scale: u64,
    },
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { blocks: Vec::new(), idle: Vec::new(), metrics: Vec::new(), next_cell: 1 });

fn registry() -> MutexGuard<'static, Registry> {
    // Every update of the registry is complete before its guard is dropped; a panic elsewhere does not spoil it.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's hold on its block; gives it back when the thread ends.
struct Lease(Arc<Block>);

impl Drop for Lease {
    fn drop(&mut self) {
        registry().idle.push(self.0.clone());
    }
}

thread_local! {
    static LEASE: RefCell<Option<Lease>> = const { RefCell::new(None) };
}

fn with_block(f: impl FnOnce(&Block)) {
    // A value counted while the thread's storage is being torn down has nowhere to go.
    let _gone = LEASE.try_with(|lease| {
        let mut lease = lease.borrow_mut();
        let lease = lease.get_or_insert_with(|| {
            let mut registry = registry();
            let block = registry.idle.pop().unwrap_or_else(|| {
                let block = Block::new();
                registry.blocks.push(block.clone());
                block
            });
            Lease(block)
        });
        f(&lease.0);
    });
}

/// What every metric has: name, labels (`op="put"`, may be empty), help, and its place in the blocks.
struct Definition {
    name: &'static str,
    labels: &'static str,
    help: &'static str,
    first_cell: AtomicU32,
}

impl Definition {
    const fn new(name: &'static str, labels: &'static str, help: &'static str) -> Definition {
        Definition { name, labels, help, first_cell: AtomicU32::new(UNREGISTERED) }
    }

    fn cell(&'static self, kind: Kind) -> u32 {
        let cell = self.first_cell.load(Relaxed);
        if cell == UNREGISTERED { self.register(kind) } else { cell }
    }

    #[cold]
    fn register(&'static self, kind: Kind) -> u32 {
        let mut registry = registry();
        let known = self.first_cell.load(Relaxed);
        if known != UNREGISTERED {
            return known;
        }
        let first_cell = registry.next_cell;
        let cells = if let Kind::Histogram { .. } = kind { HISTOGRAM_CELLS as u32 } else { 1 };
        assert!((first_cell + cells) as usize <= CELLS_MAX, "more metrics than CELLS_MAX");
        registry.next_cell += cells;
        registry.metrics.push(Registered { definition: self, kind, first_cell });
        self.first_cell.store(first_cell, Relaxed);
        first_cell
    }
}

/// A number that only grows. Adding costs a few nanoseconds and takes no lock after the first time.
pub struct Counter(Definition);

impl Counter {
    pub const fn new(name: &'static str, help: &'static str) -> Counter {
        Counter(Definition::new(name, "", help))
    }

    /// Several statics may share a name when their labels (`op="put"`) differ.
    pub const fn labeled(name: &'static str, labels: &'static str, help: &'static str) -> Counter {
        Counter(Definition::new(name, labels, help))
    }

    pub fn add(&'static self, n: u64) {
        let cell = self.0.cell(Kind::Counter);
        with_block(|block| block.add(cell, n));
    }

    /// Makes the metric appear as zero before anything happened.
    pub fn register(&'static self) {
        self.0.cell(Kind::Counter);
    }

    /// The sum over all threads.
    pub fn value(&'static self) -> u64 {
        // Registered first: that takes the same lock.
        let cell = self.0.cell(Kind::Counter);
        sum(&registry(), cell)
    }
}

/// A number that goes up and down. Threads add and take away; the sum over all threads is shown.
pub struct Gauge(Definition);

impl Gauge {
    pub const fn new(name: &'static str, help: &'static str) -> Gauge {
        Gauge(Definition::new(name, "", help))
    }

    pub const fn labeled(name: &'static str, labels: &'static str, help: &'static str) -> Gauge {
        Gauge(Definition::new(name, labels, help))
    }

    pub fn add(&'static self, n: i64) {
        let cell = self.0.cell(Kind::Gauge);
        with_block(|block| block.add(cell, n as u64));
    }

    /// Sets this thread's share; the rendered value is the sum of the shares.
    pub fn set(&'static self, n: i64) {
        let cell = self.0.cell(Kind::Gauge);
        with_block(|block| block.cells[cell as usize].store(n as u64, Relaxed));
    }

    pub fn value(&'static self) -> i64 {
        let cell = self.0.cell(Kind::Gauge);
        sum(&registry(), cell) as i64
    }
}

/// A distribution over buckets that double: 1, 2, 4 ... 2^26 units and the rest.
pub struct Histogram {
    definition: Definition,
    scale: u64,
}

impl Histogram {
    /// Values are observed in microseconds and rendered in seconds (1 us to 67 s).
    pub const fn micros(name: &'static str, help: &'static str) -> Histogram {
        Histogram { definition: Definition::new(name, "", help), scale: 1_000_000 }
    }

    /// Like `micros`, with labels (`op="put"`).
    pub const fn micros_labeled(name: &'static str, labels: &'static str, help: &'static str) -> Histogram {
        Histogram { definition: Definition::new(name, labels, help), scale: 1_000_000 }
    }

    /// Plain numbers: batch sizes, queue lengths, KiB.
    pub const fn plain(name: &'static str, help: &'static str) -> Histogram {
        Histogram { definition: Definition::new(name, "", help), scale: 1 }
    }

    pub fn observe(&'static self, value: u64) {
        let cell = self.definition.cell(Kind::Histogram { scale: self.scale });
        with_block(|block| {
            block.add(cell + bucket(value) as u32, 1);
            block.add(cell + BUCKETS as u32, value);
        });
    }

    pub fn count(&'static self) -> u64 {
        let cell = self.definition.cell(Kind::Histogram { scale: self.scale });
        let registry = registry();
        (0..BUCKETS as u32).map(|i| sum(&registry, cell + i)).sum()
    }
}

/// The first bucket whose upper bound 2^i holds `value`.
fn bucket(value: u64) -> usize {
    let bits = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
    bits.min(BUCKETS - 1)
}

fn sum(registry: &Registry, cell: u32) -> u64 {
    registry.blocks.iter().fold(0u64, |sum, block| sum.wrapping_add(block.cells[cell as usize].load(Relaxed)))
}

/// All registered metrics in the Prometheus text format 0.0.4, sorted by name. Costs one pass over all blocks.
pub fn render() -> String {
    let registry = registry();
    let mut metrics = registry.metrics.clone();
    metrics.sort_by_key(|metric| (metric.definition.name, metric.definition.labels));
    let mut out = String::with_capacity(metrics.len() * 96);
    let mut last_name = "";
    for metric in metrics {
        let Definition { name, labels, help, .. } = metric.definition;
        if *name != last_name {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram { .. } => "histogram",
            };
            write_line(&mut out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
            last_name = name;
        }
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        match metric.kind {
            Kind::Counter => {
                write_line(&mut out, format_args!("{name}{braced} {}", sum(&registry, metric.first_cell)));
            }
            Kind::Gauge => {
                let value = sum(&registry, metric.first_cell) as i64;
                write_line(&mut out, format_args!("{name}{braced} {value}"));
            }
            Kind::Histogram { scale } => render_histogram(&mut out, &registry, metric, scale, &braced),
        }
    }
    out
}

fn render_histogram(out: &mut String, registry: &Registry, metric: Registered, scale: u64, braced: &str) {
    let Definition { name, labels, .. } = metric.definition;
    let comma = if labels.is_empty() { "" } else { "," };
    let mut seen = 0u64;
    for i in 0..BUCKETS {
        seen += sum(registry, metric.first_cell + i as u32);
        if i + 1 == BUCKETS {
            write_line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {seen}"));
        } else {
            let bound = (1u64 << i) as f64 / scale as f64;
            write_line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {seen}"));
        }
    }
    let total = sum(registry, metric.first_cell + BUCKETS as u32) as f64 / scale as f64;
    write_line(out, format_args!("{name}_sum{braced} {total}\n{name}_count{braced} {seen}"));
}

fn write_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_sums_threads_and_survives_their_end() {
        static SEEN: Counter = Counter::new("test_seen_total", "Seen.");
        SEEN.add(1);
        for _ in 0..3 {
            std::thread::spawn(|| SEEN.add(2)).join().unwrap();
        }
        assert_eq!(SEEN.value(), 7);
        assert!(render().contains("# TYPE test_seen_total counter\ntest_seen_total 7\n"));
    }

    #[test]
    fn a_gauge_may_be_raised_by_one_thread_and_lowered_by_another() {
        static OPEN: Gauge = Gauge::labeled("test_open", "kind=\"a\"", "Open.");
        OPEN.add(3);
        std::thread::spawn(|| OPEN.add(-5)).join().unwrap();
        assert_eq!(OPEN.value(), -2);
        assert!(render().contains("test_open{kind=\"a\"} -2\n"));
    }

    #[test]
    fn a_histogram_puts_each_value_under_the_first_bound_that_holds_it() {
        for (value, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1 << 26, 26), (u64::MAX, 27)] {
            assert_eq!(bucket(value), expected, "value {value}");
        }
        static WAIT: Histogram = Histogram::micros("test_wait_seconds", "Wait.");
        WAIT.observe(2);
        WAIT.observe(1_000_000);
        let text = render();
        assert!(text.contains("test_wait_seconds_bucket{le=\"0.000001\"} 0\n"), "{text}");
        assert!(text.contains("test_wait_seconds_bucket{le=\"0.000002\"} 1\n"), "{text}");
        assert!(text.contains("test_wait_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.contains("test_wait_seconds_sum 1.000002\ntest_wait_seconds_count 2\n"), "{text}");
        assert_eq!(WAIT.count(), 2);
    }
}
