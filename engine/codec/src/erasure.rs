//! Erasure code: any D data and P parity fragments, up to 16+8; any D of the D+P give all back.
//!
//! Systematic Reed-Solomon over GF(2^8) with polynomial 0x11D and ISA-L's Cauchy matrix
//! (`gf_gen_cauchy1_matrix`): parity fragment `p` is the sum over `d` of
//! `data[d] / ((D + p) ^ d)`. Parity on drives freezes this choice.

mod field;
mod kernel;

use kernel::Kernel;

/// Most data fragments of a stripe.
pub const DATA_MAX: usize = 16;
/// Most parity fragments of a stripe.
pub const PARITY_MAX: usize = 8;
/// Most fragments of a stripe.
pub const FRAGMENTS_MAX: usize = DATA_MAX + PARITY_MAX;

/// Coefficients of one fragment over the D fragments that it is computed from.
type Row = [u8; DATA_MAX];

/// One geometry's code: its parity matrix, 130 bytes, free to copy.
#[derive(Clone, Copy)]
pub struct Code {
    data: u8,
    parity: u8,
    /// `rows[p][d]`: what data fragment `d` is multiplied by in parity fragment `p`.
    rows: [Row; PARITY_MAX],
}

/// Fewer fragments are there than the stripe has data fragments: nothing can be rebuilt from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewFragments {
    pub present: u8,
    pub needed: u8,
}

impl std::fmt::Display for TooFewFragments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TooFewFragments { present, needed } = self;
        write!(f, "{present} fragments present, {needed} needed")
    }
}

impl std::error::Error for TooFewFragments {}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl Code {
    /// The code of D = `data` and P = `parity` fragments. `None` unless `1 <= data <= 16` and
    /// `parity <= 8`. Without parity `encode` does nothing.
    pub const fn new(data: u8, parity: u8) -> Option<Code> {
        if data == 0 || data as usize > DATA_MAX || parity as usize > PARITY_MAX {
            return None;
        }
        let mut rows = [[0; DATA_MAX]; PARITY_MAX];
        let mut p = 0;
        while p < parity {
            let mut d = 0;
            while d < data {
                rows[p as usize][d as usize] = field::inverse((data + p) ^ d);
                d += 1;
            }
            p += 1;
        }
        Some(Code { data, parity, rows })
    }

    /// D, the number of data fragments.
    pub const fn data(&self) -> usize {
        self.data as usize
    }

    /// P, the number of parity fragments.
    pub const fn parity(&self) -> usize {
        self.parity as usize
    }

    /// D + P, the number of fragments.
    pub const fn fragments(&self) -> usize {
        self.data() + self.parity()
    }

    /// Encodes one stripe: D data fragments into P parity fragments, which are overwritten.
    ///
    /// All slices have the same length, whatever it is; multiples of 64 bytes are fastest, and
    /// alignment to 64 bytes helps. An empty data slice is a fragment of zeros, at no cost.
    /// Never fails, never allocates.
    ///
    /// Panics unless there are D data and P parity slices of one length (or empty data slices).
    ///
    /// Cost (Zen 5, AVX-512 with GFNI, fragments in cache, `benches/kernels.rs`): 4+2 takes in
    /// 80 GB/s of data, 12+4 50-60 GB/s, 16+8 35-40 GB/s.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        self.encode_with(Kernel::chosen(), data, parity);
    }

    fn encode_with(&self, kernel: Kernel, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        assert_eq!(data.len(), self.data(), "one slice per data fragment");
        assert_eq!(parity.len(), self.parity(), "one slice per parity fragment");
        kernel.multiply(data, &self.rows[..self.parity()], parity);
    }

    /// Rebuilds the `wanted` fragments, overwriting them, from at least D `present` ones.
    ///
    /// Both name fragments by index: `0..D` data, `D..D+P` parity, in any order. All slices have
    /// the same length; an empty present slice is a fragment of zeros. Data fragments are used
    /// before parity, and no more than D fragments are read. A wanted fragment that is also
    /// present is copied. Never allocates.
    ///
    /// Panics when an index is not below D+P or lengths differ.
    ///
    /// Cost: as `encode` with that many parity fragments, plus for the matrix 0.1 us when one data
    /// fragment is lost, 1 us for four and 3 us for eight.
    pub fn reconstruct(&self, present: &[(u8, &[u8])], wanted: &mut [(u8, &mut [u8])]) -> Result<(), TooFewFragments> {
        self.reconstruct_with(Kernel::chosen(), present, wanted)
    }

    fn reconstruct_with(
        &self,
        kernel: Kernel,
        present: &[(u8, &[u8])],
        wanted: &mut [(u8, &mut [u8])],
    ) -> Result<(), TooFewFragments> {
        let mut fragments = [None; FRAGMENTS_MAX];
        for &(index, bytes) in present {
            assert!(usize::from(index) < self.fragments(), "index below D+P");
            fragments[usize::from(index)] = Some(bytes);
        }
        let repair = self.repair(&fragments.map(|fragment| fragment.is_some()))?;
        let mut sources = [&[][..]; DATA_MAX];
        for (source, &index) in sources.iter_mut().zip(&repair.sources[..self.data()]) {
            *source = fragments[index].expect("repair reads present fragments only");
        }
        for group in wanted.chunks_mut(PARITY_MAX) {
            let mut rows = [[0; DATA_MAX]; PARITY_MAX];
            let mut outputs: [&mut [u8]; PARITY_MAX] = Default::default();
            let count = group.len();
            for ((row, output), (index, bytes)) in rows.iter_mut().zip(&mut outputs).zip(group) {
                *row = self.row_over(&repair, usize::from(*index));
                *output = bytes;
            }
            kernel.multiply(&sources[..self.data()], &rows[..count], &mut outputs[..count]);
        }
        Ok(())
    }

    /// Chooses D fragments to read and solves for the lost data fragments. Each lost one lends its
    /// column to a parity fragment. With few losses the system is small: only the rows of the
    /// parity fragments used and the columns of the data fragments lost.
    fn repair(&self, present: &[bool; FRAGMENTS_MAX]) -> Result<Repair, TooFewFragments> {
        let data = self.data();
        let mut repair = Repair { sources: [0; DATA_MAX], recovery: [None; DATA_MAX] };
        let mut parities = (0..self.parity()).filter(|p| present[data + p]);
        // Pairs of a lost data fragment and the parity fragment that is read instead.
        let mut lost = [(0, 0); PARITY_MAX];
        let mut lost_count = 0;
        for d in 0..data {
            repair.sources[d] = d;
            if !present[d] {
                let p = parities.next().ok_or_else(|| TooFewFragments {
                    present: present.iter().map(|&is| u8::from(is)).sum(),
                    needed: self.data,
                })?;
                repair.sources[d] = data + p;
                lost[lost_count] = (d, p);
                lost_count += 1;
            }
        }
        let lost = &lost[..lost_count];

        let mut system = [[0; DATA_MAX]; PARITY_MAX];
        // What the parity read in a lost one's place says: the rest of its row, plus itself.
        let mut known = [[0; DATA_MAX]; PARITY_MAX];
        for ((equation, known), &(column, p)) in system.iter_mut().zip(&mut known).zip(lost) {
            *known = self.rows[p];
            for (coefficient, &(d, _)) in equation.iter_mut().zip(lost) {
                *coefficient = std::mem::take(&mut known[d]);
            }
            known[column] = 1;
        }
        let solution = field::invert(&system, lost_count);
        for (weights, &(target, _)) in solution.iter().zip(lost) {
            let mut row = [0; DATA_MAX];
            for (&weight, known) in weights.iter().zip(&known[..lost_count]) {
                field::add_scaled(&mut row, weight, known);
            }
            repair.recovery[target] = Some(row);
        }
        Ok(repair)
    }

    /// Fragment `index` as a combination of the repair's sources.
    fn row_over(&self, repair: &Repair, index: usize) -> Row {
        let data_row = |d: usize| {
            repair.recovery[d].unwrap_or_else(|| {
                let mut row = [0; DATA_MAX];
                row[d] = 1;
                row
            })
        };
        if index < self.data() {
            return data_row(index);
        }
        assert!(index < self.fragments(), "index below D+P");
        let mut row = [0; DATA_MAX];
        for d in 0..self.data() {
            let weight = self.rows[index - self.data()][d];
            field::add_scaled(&mut row, weight, &data_row(d));
        }
        row
    }
}

/// Which D fragments a reconstruction reads, and how the lost data follows from them.
struct Repair {
    /// `sources[d]`: `d` itself, or the parity fragment read in its place.
    sources: [usize; DATA_MAX],
    /// For a lost data fragment, its row over `sources`.
    recovery: [Option<Row>; DATA_MAX],
}

#[cfg(test)]
mod tests;
