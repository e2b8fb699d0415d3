//! GF(2^8) with polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D), and the tables kernels multiply by.

use super::{DATA_MAX, PARITY_MAX, Row};

/// The polynomial without its leading term.
const POLYNOMIAL: u8 = 0x1d;

/// The product of two elements, in up to 8 steps.
pub(super) const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { POLYNOMIAL } else { 0 };
        b >>= 1;
    }
    product
}

/// The inverse, as `a^254`. Panics for 0.
pub(super) const fn inverse(a: u8) -> u8 {
    assert!(a != 0, "zero has no inverse");
    // 254 = 0b1111_1110: multiply all squares but the first.
    let (mut square, mut power, mut bit) = (a, 1, 1);
    while bit < 8 {
        square = multiply(square, square);
        power = multiply(power, square);
        bit += 1;
    }
    power
}

/// Multiplies each element of `row` by `factor`, all 16 at once.
pub(super) fn scale(factor: u8, row: &Row) -> Row {
    const HIGH_BITS: u128 = u128::from_ne_bytes([0x80; DATA_MAX]);
    const REDUCTIONS: u128 = u128::from_ne_bytes([POLYNOMIAL; DATA_MAX]);
    let mut elements = u128::from_le_bytes(*row);
    let mut product = 0;
    for bit in 0..8 {
        if factor >> bit & 1 == 1 {
            product ^= elements;
        }
        let carries = elements & HIGH_BITS;
        // 0xff in each byte that carries out.
        let reduce = (carries << 1).wrapping_sub(carries >> 7);
        elements = ((elements ^ carries) << 1) ^ (reduce & REDUCTIONS);
    }
    product.to_le_bytes()
}

/// Adds `factor * row` to `sum`.
pub(super) fn add_scaled(sum: &mut Row, factor: u8, row: &Row) {
    for (sum, product) in sum.iter_mut().zip(scale(factor, row)) {
        *sum ^= product;
    }
}

/// Inverts the leading `size` rows and columns of a matrix all of whose square submatrices are
/// regular, as those of a Cauchy matrix are: no pivot can vanish, so no rows are exchanged.
pub(super) fn invert(matrix: &[Row; PARITY_MAX], size: usize) -> [Row; PARITY_MAX] {
    let mut left = *matrix;
    let mut right = [[0; DATA_MAX]; PARITY_MAX];
    for (i, row) in right.iter_mut().enumerate() {
        row[i] = 1;
    }
    for pivot in 0..size {
        let reciprocal = inverse(left[pivot][pivot]);
        let left_pivot = scale(reciprocal, &left[pivot]);
        let right_pivot = scale(reciprocal, &right[pivot]);
        left[pivot] = left_pivot;
        right[pivot] = right_pivot;
        for row in (0..size).filter(|&row| row != pivot) {
            let factor = left[row][pivot];
            add_scaled(&mut left[row], factor, &left_pivot);
            add_scaled(&mut right[row], factor, &right_pivot);
        }
    }
    right
}

/// Multiplication by each element as the bit matrix of GF2P8AFFINEQB: byte `7 - i` of the matrix
/// selects the input bits whose sum is bit `i` of the product. 2 KiB.
#[cfg(target_arch = "x86_64")]
pub(super) static BIT_MATRICES: [u64; 256] = {
    let mut matrices = [0; 256];
    let mut element = 0;
    while element < 256 {
        let mut input = 0;
        while input < 8 {
            let column = multiply(element as u8, 1 << input);
            let mut output = 0;
            while output < 8 {
                let bit = (column >> output & 1) as u64;
                matrices[element] |= bit << (8 * (7 - output) + input);
                output += 1;
            }
            input += 1;
        }
        element += 1;
    }
    matrices
};

/// Products of each element with the 16 low nibbles, then with the 16 high ones. 8 KiB.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) static NIBBLE_PRODUCTS: [[u8; 32]; 256] = {
    let mut products = [[0; 32]; 256];
    let mut element = 0;
    while element < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            products[element][nibble] = multiply(element as u8, nibble as u8);
            products[element][nibble + 16] = multiply(element as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        element += 1;
    }
    products
};
