//! Which kernel hashes many streams.

use super::State;
#[cfg(target_arch = "aarch64")]
use super::rounds::neon;
use super::rounds::scalar;
#[cfg(target_arch = "x86_64")]
use super::rounds::{avx2, avx512};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::lanes::schedule;

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
            Kernel::Avx512 => {
                // SAFETY: `runs` found AVX-512F.
                let many = |words: &mut _, lanes: &_, busy, count| unsafe {
                    if busy <= avx512::WIDTH {
                        avx512::compress::<1>(words, lanes, count);
                    } else {
                        avx512::compress::<2>(words, lanes, count);
                    }
                };
                schedule(jobs, scalar::compress, many);
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => {
                // SAFETY: `runs` found AVX2.
                let many = |words: &mut _, lanes: &_, busy, count| unsafe {
                    if busy <= avx2::WIDTH {
                        avx2::compress::<1>(words, lanes, count);
                    } else {
                        avx2::compress::<2>(words, lanes, count);
                    }
                };
                schedule(jobs, scalar::compress, many);
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => {
                // SAFETY: `runs` found NEON.
                let many = |words: &mut _, lanes: &_, busy, count| unsafe {
                    if busy <= neon::WIDTH {
                        neon::compress::<1>(words, lanes, count);
                    } else {
                        neon::compress::<2>(words, lanes, count);
                    }
                };
                schedule(jobs, scalar::compress, many);
            }
            Kernel::Scalar => {
                for (state, bytes) in jobs {
                    state.update(bytes);
                }
            }
        }
    }
}
