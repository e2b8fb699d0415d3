//! The lane scheduler: streams of unequal length share the lanes of one vector register.

#[cfg(target_arch = "aarch64")]
use super::rounds::neon;
use super::rounds::scalar;
#[cfg(target_arch = "x86_64")]
use super::rounds::{avx2, avx512};
use super::{BLOCK, State};

/// Hashes each job's bytes into its state: what `State::update` would do one after the other, in
/// about twice the time of the longest where the processor has a lane for each job.
///
/// A lane whose stream ends takes the next job at once; the last stream left runs on the scalar
/// unit. Lanes: 32 with AVX-512, 16 with AVX2, 8 with NEON, else 1. Jobs of about the same length
/// fill the lanes best. Never allocates.
///
/// Cost with AVX-512, Zen 5: a pass over one block of up to 32 lanes takes 160 ns, where one block
/// of a single stream takes 85. So 2 streams run no faster than one after the other (0.8 GB/s), 16
/// at 6.5 GB/s and 32 at 12.5.
pub fn update_many(jobs: &mut [(&mut State, &[u8])]) {
    Kernel::chosen().update_many(jobs);
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Scalar,
}

impl Kernel {
    #[cfg(target_arch = "x86_64")]
    const ALL: &[Kernel] = &[Kernel::Avx512, Kernel::Avx2, Kernel::Scalar];
    #[cfg(target_arch = "aarch64")]
    const ALL: &[Kernel] = &[Kernel::Neon, Kernel::Scalar];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    const ALL: &[Kernel] = &[Kernel::Scalar];

    /// The kernels this processor can run, the widest first.
    pub(super) fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.iter().copied().filter(|kernel| kernel.runs())
    }

    fn chosen() -> Kernel {
        // The standard library caches what it detects: one load per feature.
        Kernel::available().next().unwrap_or(Kernel::Scalar)
    }

    fn runs(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Kernel::Scalar => true,
        }
    }

    /// Panics when the processor lacks the kernel's instructions.
    #[allow(unsafe_code)]
    pub(super) fn update_many(self, jobs: &mut [(&mut State, &[u8])]) {
        assert!(self.runs(), "{self:?} needs another processor");
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => schedule(jobs, |words, lanes, busy, count| {
                // SAFETY: `runs` found AVX-512F.
                unsafe {
                    if busy <= avx512::WIDTH {
                        avx512::compress::<1>(words, lanes, count);
                    } else {
                        avx512::compress::<2>(words, lanes, count);
                    }
                }
            }),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => schedule(jobs, |words, lanes, busy, count| {
                // SAFETY: `runs` found AVX2.
                unsafe {
                    if busy <= avx2::WIDTH {
                        avx2::compress::<1>(words, lanes, count);
                    } else {
                        avx2::compress::<2>(words, lanes, count);
                    }
                }
            }),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => schedule(jobs, |words, lanes, busy, count| {
                // SAFETY: `runs` found NEON.
                unsafe {
                    if busy <= neon::WIDTH {
                        neon::compress::<1>(words, lanes, count);
                    } else {
                        neon::compress::<2>(words, lanes, count);
                    }
                }
            }),
            Kernel::Scalar => {
                for (state, bytes) in jobs {
                    state.update(bytes);
                }
            }
        }
    }
}

/// Spreads `jobs` over `LANES` lanes. `compress(words, lanes, busy, count)` compresses `count` blocks
/// of at least the first `busy` lanes; `words[i][lane]` is word `i` of the lane's state.
fn schedule<'a, const LANES: usize>(
    jobs: &mut [(&mut State, &'a [u8])],
    compress: impl Fn(&mut [[u32; LANES]; 4], &[&'a [[u8; BLOCK]]; LANES], usize, usize),
) {
    let mut words = [[0; LANES]; 4];
    let mut lanes: [&'a [[u8; BLOCK]]; LANES] = [&[]; LANES];
    // Which job each lane works for. Lanes `..busy` are the ones at work.
    let mut job_of = [0; LANES];
    let mut busy = 0;
    let mut next = 0;
    loop {
        while busy < LANES && next < jobs.len() {
            let (state, bytes) = &mut jobs[next];
            let blocks = state.take_in(bytes);
            if !blocks.is_empty() {
                for (word, lane_words) in state.words.iter().zip(&mut words) {
                    lane_words[busy] = *word;
                }
                lanes[busy] = blocks;
                job_of[busy] = next;
                busy += 1;
            }
            next += 1;
        }
        if busy <= 1 {
            break;
        }
        let shortest = lanes[..busy].iter().map(|lane| lane.len()).min();
        let count = shortest.expect("at least two lanes are busy");
        // Idle lanes repeat the first one's work; nobody reads what they compute.
        let first = lanes[0];
        lanes[busy..].fill(first);
        compress(&mut words, &lanes, busy, count);
        let mut lane = 0;
        while lane < busy {
            lanes[lane] = &lanes[lane][count..];
            if !lanes[lane].is_empty() {
                lane += 1;
                continue;
            }
            jobs[job_of[lane]].0.words = words.map(|lane_words| lane_words[lane]);
            // The last busy lane, not yet advanced, moves into the place that became free.
            busy -= 1;
            lanes[lane] = lanes[busy];
            job_of[lane] = job_of[busy];
            for lane_words in &mut words {
                lane_words[lane] = lane_words[busy];
            }
        }
    }
    if busy == 1 {
        let state = &mut *jobs[job_of[0]].0;
        state.words = words.map(|lane_words| lane_words[0]);
        scalar::compress(&mut state.words, lanes[0]);
    }
}
