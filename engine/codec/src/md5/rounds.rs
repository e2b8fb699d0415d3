//! The 64 steps of RFC 1321, written once and compiled for one stream and for each vector width.
//!
//! A width is a module that defines `splat`, `add`, `rotl::<LEFT, RIGHT, N>` and, for each of the
//! four rounds, `add_f`, `add_g`, `add_h`, `add_i`: the sum of the first argument and the round's
//! function of the other three. `rounds!` then expands against these names. All of them take arrays
//! of N registers: each step waits for the one before, so a second, independent register runs in
//! the gaps of the first.

/// `floor(2^32 * abs(sin(i + 1)))`.
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8,
    0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
    0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87,
    0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
    0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039,
    0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
    0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
    0xeb86d391,
];

/// One step: word `index` of the message, the sine `step`, a rotation.
macro_rules! step {
    ($add:ident $a:ident $b:ident $c:ident $d:ident, $m:ident, $index:expr, $step:expr, $l:literal $r:literal) => {
        let sum = add($a, add($m[$index % 16], splat(SINES[$step])));
        $a = add($b, rotl::<$l, $r, _>($add(sum, $b, $c, $d)));
    };
}

/// One round of 16 steps; step `i` takes word `scale * i + offset` of the message.
macro_rules! round {
    ($add:ident $a:ident $b:ident $c:ident $d:ident, $m:ident, $first:literal, $scale:literal $offset:literal,
     $l0:literal $r0:literal, $l1:literal $r1:literal, $l2:literal $r2:literal, $l3:literal $r3:literal) => {
        round!(@four $add $a $b $c $d, $m, $first, 0, $scale $offset, $l0 $r0, $l1 $r1, $l2 $r2, $l3 $r3);
        round!(@four $add $a $b $c $d, $m, $first, 4, $scale $offset, $l0 $r0, $l1 $r1, $l2 $r2, $l3 $r3);
        round!(@four $add $a $b $c $d, $m, $first, 8, $scale $offset, $l0 $r0, $l1 $r1, $l2 $r2, $l3 $r3);
        round!(@four $add $a $b $c $d, $m, $first, 12, $scale $offset, $l0 $r0, $l1 $r1, $l2 $r2, $l3 $r3);
    };
    (@four $add:ident $a:ident $b:ident $c:ident $d:ident, $m:ident, $first:literal, $i:literal, $scale:literal $offset:literal,
     $l0:literal $r0:literal, $l1:literal $r1:literal, $l2:literal $r2:literal, $l3:literal $r3:literal) => {
        step!($add $a $b $c $d, $m, $scale * $i + $offset, $first + $i, $l0 $r0);
        step!($add $d $a $b $c, $m, $scale * ($i + 1) + $offset, $first + $i + 1, $l1 $r1);
        step!($add $c $d $a $b, $m, $scale * ($i + 2) + $offset, $first + $i + 2, $l2 $r2);
        step!($add $b $c $d $a, $m, $scale * ($i + 3) + $offset, $first + $i + 3, $l3 $r3);
    };
}

/// Compresses message words `m: [[V; N]; 16]` into `state: [[V; N]; 4]`.
macro_rules! rounds {
    ($state:expr, $m:expr) => {
        let m = $m;
        let [mut a, mut b, mut c, mut d] = $state;
        round!(add_f a b c d, m, 0, 1 0, 7 25, 12 20, 17 15, 22 10);
        round!(add_g a b c d, m, 16, 5 1, 5 27, 9 23, 14 18, 20 12);
        round!(add_h a b c d, m, 32, 3 5, 4 28, 11 21, 16 16, 23 9);
        round!(add_i a b c d, m, 48, 7 0, 6 26, 10 22, 15 17, 21 11);
        $state = [
            add($state[0], a),
            add($state[1], b),
            add($state[2], c),
            add($state[3], d),
        ];
    };
}

// After the macros, which reach only what follows them.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

/// One stream on the scalar unit. A second one in its gaps did not pay when measured: 29 us a
/// stream of 16 KiB instead of 24.
pub(super) mod scalar {
    use super::SINES;
    use crate::lanes::BLOCK;

    pub(in super::super) fn compress(words: &mut [u32; 4], blocks: &[[u8; BLOCK]]) {
        let mut state = words.map(|word| [word]);
        for block in blocks {
            let mut message = [[0]; 16];
            for ([word], bytes) in message.iter_mut().zip(block.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            rounds!(state, message);
        }
        *words = state.map(|[word]| word);
    }

    #[inline(always)]
    fn splat(value: u32) -> [u32; 1] {
        [value]
    }

    #[inline(always)]
    fn add([a]: [u32; 1], [b]: [u32; 1]) -> [u32; 1] {
        [a.wrapping_add(b)]
    }

    #[inline(always)]
    fn rotl<const LEFT: u32, const RIGHT: u32, const N: usize>(a: [u32; N]) -> [u32; N] {
        a.map(|a| a.rotate_left(LEFT))
    }

    #[inline(always)]
    fn add_f(sum: [u32; 1], [b]: [u32; 1], [c]: [u32; 1], [d]: [u32; 1]) -> [u32; 1] {
        add(sum, [d ^ (b & (c ^ d))])
    }

    // Two additions instead of an OR: the half without `b`, the newest value, is off the chain.
    #[inline(always)]
    fn add_g(sum: [u32; 1], [b]: [u32; 1], [c]: [u32; 1], [d]: [u32; 1]) -> [u32; 1] {
        add(add(sum, [c & !d]), [b & d])
    }

    #[inline(always)]
    fn add_h(sum: [u32; 1], [b]: [u32; 1], [c]: [u32; 1], [d]: [u32; 1]) -> [u32; 1] {
        add(sum, [b ^ (c ^ d)])
    }

    #[inline(always)]
    fn add_i(sum: [u32; 1], [b]: [u32; 1], [c]: [u32; 1], [d]: [u32; 1]) -> [u32; 1] {
        add(sum, [c ^ (b | !d)])
    }
}
