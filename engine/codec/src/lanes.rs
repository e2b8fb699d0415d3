//! Hashes of 64-byte blocks: a running stream, and the scheduler by which streams of unequal length share the lanes of vector
//! registers. What is hashed, and how, is told by `md5` and `sha256`.

/// Bytes of one block.
pub(crate) const BLOCK: usize = 64;

/// A running hash with `W` words of state. Small and copyable, so that it can move between requests and lanes.
#[derive(Clone, Copy)]
pub(crate) struct Stream<const W: usize> {
    pub(crate) words: [u32; W],
    /// Bytes seen so far; the last `len % 64` of them wait in `tail`.
    len: u64,
    tail: [u8; BLOCK],
}

impl<const W: usize> Stream<W> {
    pub(crate) const fn new(words: [u32; W]) -> Stream<W> {
        Stream { words, len: 0, tail: [0; BLOCK] }
    }

    /// Bits seen so far, as MD5 and SHA-256 count them.
    pub(crate) fn bits(&self) -> u64 {
        self.len.wrapping_mul(8)
    }

    /// Ends the stream: one bit, zeros up to 8 bytes before the end of a block, the length in the order of the hash.
    pub(crate) fn pad(&mut self, length: [u8; 8], compress: impl Fn(&mut [u32; W], &[[u8; BLOCK]])) {
        let mut padding = [0; BLOCK + 8];
        padding[0] = 0x80;
        let zeros_end = match self.filled() {
            filled if filled < BLOCK - 8 => BLOCK - 8 - filled,
            filled => 2 * BLOCK - 8 - filled,
        };
        padding[zeros_end..zeros_end + 8].copy_from_slice(&length);
        let blocks = self.take_in(&padding[..zeros_end + 8], &compress);
        compress(&mut self.words, blocks);
        assert_eq!(self.filled(), 0, "padding ends a block");
    }

    /// Bytes waiting in the tail.
    fn filled(&self) -> usize {
        (self.len % BLOCK as u64) as usize
    }

    /// Counts all of `bytes`, completes and compresses a waiting tail, keeps the bytes beyond the
    /// last whole block as the new tail, and returns the whole blocks between. The caller owes
    /// their compression into `words` before the state is used again.
    pub(crate) fn take_in<'a>(
        &mut self,
        bytes: &'a [u8],
        compress: impl Fn(&mut [u32; W], &[[u8; BLOCK]]),
    ) -> &'a [[u8; BLOCK]] {
        let filled = self.filled();
        self.len = self.len.wrapping_add(bytes.len() as u64);
        let mut bytes = bytes;
        if filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - filled));
            self.tail[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK {
                return &[];
            }
            compress(&mut self.words, &[self.tail]);
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        self.tail[..rest.len()].copy_from_slice(rest);
        blocks
    }
}

/// Spreads `jobs` over the lanes. A lane whose stream ends takes the next job at once; the last stream left runs by itself.
///
/// `one` compresses blocks of one stream. `many(words, lanes, busy, count)` compresses `count` blocks of at least the first
/// `busy` lanes; `words[i][lane]` is word `i` of the lane's state.
pub(crate) fn schedule<'a, const W: usize, const LANES: usize, S: AsMut<Stream<W>>>(
    jobs: &mut [(&mut S, &'a [u8])],
    one: impl Fn(&mut [u32; W], &[[u8; BLOCK]]),
    many: impl Fn(&mut [[u32; LANES]; W], &[&'a [[u8; BLOCK]]; LANES], usize, usize),
) {
    let mut words = [[0; LANES]; W];
    let mut lanes: [&'a [[u8; BLOCK]]; LANES] = [&[]; LANES];
    // Which job each lane works for. Lanes `..busy` are the ones at work.
    let mut job_of = [0; LANES];
    let mut busy = 0;
    let mut next = 0;
    loop {
        while busy < LANES && next < jobs.len() {
            let (state, bytes) = &mut jobs[next];
            let stream = state.as_mut();
            let blocks = stream.take_in(bytes, &one);
            if !blocks.is_empty() {
                for (word, lane_words) in stream.words.iter().zip(&mut words) {
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
        many(&mut words, &lanes, busy, count);
        let mut lane = 0;
        while lane < busy {
            lanes[lane] = &lanes[lane][count..];
            if !lanes[lane].is_empty() {
                lane += 1;
                continue;
            }
            jobs[job_of[lane]].0.as_mut().words = words.map(|lane_words| lane_words[lane]);
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
        let stream = jobs[job_of[0]].0.as_mut();
        stream.words = words.map(|lane_words| lane_words[0]);
        one(&mut stream.words, lanes[0]);
    }
}

#[cfg(test)]
pub(crate) mod tests;
