//! The CRC of two strings of bytes from the CRCs of each: appending n bytes multiplies what came
//! before by x^(8n), modulo the CRC's polynomial.
//!
//! The combination of `crc-fast` squares 64x64 bit matrices for each call, 160 us; 10,000 parts
//! would hold a shard for over a second. With the powers of x in a table it is one multiplication
//! per set bit of the length.

/// x^(2^k) for each k that a length of 64 bits, in bytes, can need.
const POWERS: usize = 64 + 3;

/// A polynomial of `width` bits with its powers of x. All values are bit-reversed, as the registers
/// of these CRCs are: the highest bit stands for x^0.
pub(super) struct Modulus {
    width: u32,
    polynomial: u64,
    powers: [u64; POWERS],
}

pub(super) static CRC32: Modulus = Modulus::new(32, 0xedb8_8320);
pub(super) static CRC32C: Modulus = Modulus::new(32, 0x82f6_3b78);
pub(super) static CRC64_NVME: Modulus = Modulus::new(64, 0x9a6c_9329_ac4b_c9b5);

impl Modulus {
    const fn new(width: u32, polynomial: u64) -> Modulus {
        let mut modulus = Modulus { width, polynomial, powers: [0; POWERS] };
        modulus.powers[0] = 1 << (width - 2);
        let mut k = 1;
        while k < POWERS {
            let root = modulus.powers[k - 1];
            modulus.powers[k] = modulus.multiply(root, root);
            k += 1;
        }
        modulus
    }

    const fn multiply(&self, a: u64, b: u64) -> u64 {
        let (mut a, mut b, mut product) = (a, b, 0);
        let one = 1 << (self.width - 1);
        while a != 0 {
            if a & one != 0 {
                product ^= b;
                a ^= one;
            }
            a <<= 1;
            b = (b >> 1) ^ if b & 1 == 1 { self.polynomial } else { 0 };
        }
        product
    }

    /// The CRC of A followed by B from the CRC `a` of A, `b` of B and B's length in bytes. Right
    /// for CRCs whose register starts as what the result is finally inverted with.
    pub(super) fn combine(&self, a: u64, b: u64, len_b: u64) -> u64 {
        let mut shifted = a;
        let mut rest = len_b;
        while rest != 0 {
            let k = rest.trailing_zeros() as usize;
            shifted = self.multiply(shifted, self.powers[k + 3]);
            rest &= rest - 1;
        }
        shifted ^ b
    }
}
