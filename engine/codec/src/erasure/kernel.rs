//! One operation for encoding and rebuilding alike: outputs = matrix x sources, over GF(2^8).
//!
//! All rows are computed in one pass over the sources while registers last; beyond that the
//! sources are cut into blocks that stay in the cache for the next pass.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::{DATA_MAX, Row};

/// Bytes of each source between two passes over it: 16 of them fit a second-level cache of
/// 256 KiB. A multiple of every kernel's step.
const BLOCK: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512Gfni,
    #[cfg(target_arch = "x86_64")]
    Avx2Gfni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Kernel {
    #[cfg(target_arch = "x86_64")]
    const ALL: &[Kernel] = &[Kernel::Avx512Gfni, Kernel::Avx2Gfni, Kernel::Avx2, Kernel::Portable];
    #[cfg(target_arch = "aarch64")]
    const ALL: &[Kernel] = &[Kernel::Neon, Kernel::Portable];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    const ALL: &[Kernel] = &[Kernel::Portable];

    /// The kernels this processor can run, the fastest first.
    pub(super) fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.iter().copied().filter(|kernel| kernel.runs())
    }

    pub(super) fn chosen() -> Kernel {
        // The standard library caches what it detects: one load per feature.
        Kernel::available().next().unwrap_or(Kernel::Portable)
    }

    fn runs(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Gfni => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("gfni"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Gfni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Kernel::Portable => true,
        }
    }

    /// Rows computed in one pass: what the registers can accumulate.
    fn rows_max(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Gfni => 8,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Gfni | Kernel::Avx2 => 4,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => 8,
            Kernel::Portable => 8,
        }
    }

    /// Bytes of one vector: the shortest fragments that the kernel can take.
    fn width(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Gfni => 64,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Gfni | Kernel::Avx2 => 32,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => 16,
            Kernel::Portable => 1,
        }
    }

    /// Overwrites `outputs[r]` with the sum over `s` of `rows[r][s] * sources[s]`. An empty source
    /// is zero.
    ///
    /// Panics when other lengths differ, when there are more than [`DATA_MAX`] sources, or when the
    /// processor lacks the kernel's instructions.
    pub(super) fn multiply(self, sources: &[&[u8]], rows: &[Row], outputs: &mut [&mut [u8]]) {
        assert!(self.runs(), "{self:?} needs another processor");
        assert_eq!(rows.len(), outputs.len(), "one row per output");
        let Some(len) = outputs.first().map(|output| output.len()) else {
            return;
        };
        assert!(outputs.iter().all(|output| output.len() == len), "outputs of one length");
        let mut used = [&[][..]; DATA_MAX];
        let mut used_columns = [0; DATA_MAX];
        let mut used_count = 0;
        for (column, source) in sources.iter().enumerate() {
            if !source.is_empty() {
                assert_eq!(source.len(), len, "sources as long as outputs");
                used[used_count] = source;
                used_columns[used_count] = column;
                used_count += 1;
            }
        }
        let used = &used[..used_count];
        let used_columns = &used_columns[..used_count];

        let kernel = if len < self.width() { Kernel::Portable } else { self };
        let rows_max = kernel.rows_max();
        let block = if rows.len() > rows_max { BLOCK } else { len };
        let mut start = 0;
        while start < len {
            let end = len.min(start + block);
            for (rows, outputs) in rows.chunks(rows_max).zip(outputs.chunks_mut(rows_max)) {
                // The columns of the sources in use, close together.
                let mut packed = [[0; DATA_MAX]; ROWS_MAX];
                for (packed, row) in packed.iter_mut().zip(rows) {
                    for (coefficient, &column) in packed.iter_mut().zip(used_columns) {
                        *coefficient = row[column];
                    }
                }
                kernel.pass(Pass { sources: used, rows: &packed[..rows.len()], outputs, start, end });
            }
            start = end;
        }
    }

    #[allow(unsafe_code)]
    fn pass(self, pass: Pass<'_, '_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `multiply` asserted `runs`, which found AVX-512F and GFNI.
            Kernel::Avx512Gfni => unsafe { x86::avx512_gfni(pass) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `multiply` asserted `runs`, which found AVX2 and GFNI.
            Kernel::Avx2Gfni => unsafe { x86::avx2_gfni(pass) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `multiply` asserted `runs`, which found AVX2.
            Kernel::Avx2 => unsafe { x86::avx2(pass) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `multiply` asserted `runs`, which found NEON.
            Kernel::Neon => unsafe { neon::neon(pass) },
            Kernel::Portable => portable::portable(pass),
        }
    }
}

/// Most rows of any kernel's pass.
const ROWS_MAX: usize = 8;

/// One pass of a kernel over bytes `start..end` of every slice. `multiply` upholds that all slices
/// are of one length, at least `end` and at least the kernel's width; a vector kernel that ends on
/// a partial vector steps back and computes some bytes twice.
struct Pass<'a, 'b> {
    sources: &'a [&'a [u8]],
    /// `rows[output][source]`; at most `Kernel::rows_max` of them.
    rows: &'a [Row],
    outputs: &'a mut [&'b mut [u8]],
    start: usize,
    end: usize,
}

/// Calls `$kernel::<ROWS>(pass)` for the number of rows of `$pass`, so that accumulators are
/// registers.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! by_rows {
    ($pass:expr, $kernel:ident, $($rows:literal)*) => {
        match $pass.rows.len() {
            $($rows => $kernel::<$rows>($pass),)*
            rows => unreachable!("{rows} rows in one pass"),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use by_rows;
