//! The instructions: a product of 32 × 32 numbers at a time, in four tiles.

pub(super) use super::split::pack;

use super::{Block, STEP, TileProduct};
use crate::cpu::product::Start;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::slice;

/// Whether the processor has the instructions, and the system keeps tiles when it interrupts this process.
pub(super) fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bw") {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let (bf16, tile) = (features >> 22 & 1, features >> 24 & 1);
    // SAFETY: it takes two numbers, and lets this process use tiles or does not.
    let permitted = || unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 };
    bf16 == 1 && tile == 1 && permitted()
}

/// What tiles are: palette 1, eight of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Configuration(bytes)
};

/// 32 rows and columns of c at an edge, of which not all are there.
#[repr(C, align(64))]
struct Edge([[f32; STEP]; STEP]);

/// A row of the c that a product begins with.
#[repr(C, align(64))]
struct Row([f32; STEP]);

static ZEROS: Row = Row([0.; STEP]);

/// Computes a product.
///
/// # Safety
/// As [`super::Amx::multiply`] says; the processor must have tiles, and a row that c starts with its columns.
pub(super) unsafe fn multiply(product: TileProduct<f32>) {
    let TileProduct { rows, inner, columns, a, b, start, c } = product;
    let steps = inner.div_ceil(STEP);
    // SAFETY: the processor has tiles. No function keeps any across a call, so none are lost.
    unsafe {
        asm!(
            "ldtilecfg [{}]", in(reg) &CONFIGURATION,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags),
        );
    }
    for j in (0..columns).step_by(STEP) {
        let b = &b[j / STEP * steps..][..steps];
        for i in (0..rows).step_by(STEP) {
            let a = &a[i / STEP * steps..][..steps];
            let to = c.start.at(i * c.row + j);
            let (height, width) = ((rows - i).min(STEP), (columns - j).min(STEP));
            // SAFETY: 32 rows of 32 numbers at `to`, or at the edge's copy; at `from` as many, or a row that is read
            // again and again; this task alone writes c.
            unsafe {
                if (height, width) == (STEP, STEP) {
                    let (from, row) = match start {
                        Start::Zero => (ZEROS.0.as_ptr(), 0),
                        Start::Row(row) => (row[j..][..STEP].as_ptr(), 0),
                        Start::Sum => (to.cast_const(), c.row),
                    };
                    in_tiles(a, b, (from, row), (to, c.row));
                } else {
                    let mut edge = Edge([[0.; STEP]; STEP]);
                    for (k, edge) in edge.0.iter_mut().enumerate().take(height) {
                        match start {
                            Start::Zero => {}
                            Start::Row(row) => edge[..width].copy_from_slice(&row[j..][..width]),
                            Start::Sum => {
                                edge[..width].copy_from_slice(slice::from_raw_parts(to.add(k * c.row), width))
                            }
                        }
                    }
                    let at: *mut f32 = edge.0.as_mut_ptr().cast();
                    in_tiles(a, b, (at.cast_const(), STEP), (at, STEP));
                    for (k, edge) in edge.0.iter().enumerate().take(height) {
                        to.add(k * c.row).copy_from_nonoverlapping(edge.as_ptr(), width);
                    }
                }
            }
        }
    }
    // SAFETY: no product is under way.
    unsafe {
        asm!(
            "tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// Of the part of a in tiles 4 and 5 and the part of b in tiles 6 and 7: all four products are added. Meanwhile a part
/// of a block of a that is needed soon is asked for, 1 KiB from byte `$ahead` on.
macro_rules! add_products {
    ($ahead:literal) => {
        concat!(
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            add_products!(@prefetch $ahead, "0", "64", "128", "192"),
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            add_products!(@prefetch $ahead, "256", "320", "384", "448"),
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            add_products!(@prefetch $ahead, "512", "576", "640", "704"),
            "tdpbf16ps tmm3, tmm5, tmm7\n",
            add_products!(@prefetch $ahead, "768", "832", "896", "960"),
        )
    };
    (@prefetch $ahead:literal, $($line:literal),*) => {
        concat!($("prefetcht0 [{a} + ", $ahead, " + ", $line, "]\n"),*)
    };
}

/// c = from + a · b, for 32 rows and columns. 32 numbers are read at each of 32 rows of `from.0` that are `from.1`
/// numbers apart, and written at those of `to`. `a` and `b` have as many blocks, at least one.
///
/// # Safety
/// The configuration must be loaded, and all of these numbers be readable and writable.
unsafe fn in_tiles(a: &[Block], b: &[Block], from: (*const f32, usize), to: (*mut f32, usize)) {
    debug_assert!(a.len() == b.len() && !a.is_empty());
    // SAFETY: guaranteed by the caller. What is asked for beyond a block is not read, wherever it is.
    unsafe {
        asm!(
            "tileloadd tmm0, [{from} + {from_row}]",
            "tileloadd tmm1, [{from} + {from_row} + 64]",
            "mov {next}, {from_row}",
            "shl {next}, 4",
            "add {from}, {next}",
            "tileloadd tmm2, [{from} + {from_row}]",
            "tileloadd tmm3, [{from} + {from_row} + 64]",
            "mov {from_row}, 64", // the rows of a tile in a block
            "3:",
            // From one product of parts to the next, one side changes; the largest is added last. l h
            "tileloadd tmm4, [{a} + {from_row} + 4096]",
            "tileloadd tmm6, [{b} + {from_row}]",
            "tileloadd tmm7, [{b} + {from_row} + 1024]",
            "tileloadd tmm5, [{a} + {from_row} + 5120]",
            add_products!("12288"),
            // m h
            "tileloadd tmm4, [{a} + {from_row} + 2048]",
            "tileloadd tmm5, [{a} + {from_row} + 3072]",
            add_products!("13312"),
            // m m
            "tileloadd tmm6, [{b} + {from_row} + 2048]",
            "tileloadd tmm7, [{b} + {from_row} + 3072]",
            add_products!("14336"),
            // h m
            "tileloadd tmm4, [{a} + {from_row}]",
            "tileloadd tmm5, [{a} + {from_row} + 1024]",
            add_products!("15360"),
            // h l
            "tileloadd tmm6, [{b} + {from_row} + 4096]",
            "tileloadd tmm7, [{b} + {from_row} + 5120]",
            add_products!("16384"),
            // h h
            "tileloadd tmm6, [{b} + {from_row}]",
            "tileloadd tmm7, [{b} + {from_row} + 1024]",
            add_products!("17408"),
            "add {a}, 6144",
            "add {b}, 6144",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {c_row}], tmm0",
            "tilestored [{c} + {c_row} + 64], tmm1",
            "mov {next}, {c_row}",
            "shl {next}, 4",
            "add {c}, {next}",
            "tilestored [{c} + {c_row}], tmm2",
            "tilestored [{c} + {c_row} + 64], tmm3",
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            steps = inout(reg) a.len() => _,
            from = inout(reg) from.0 => _,
            from_row = inout(reg) size_of::<f32>() * from.1 => _,
            c = inout(reg) to.0 => _,
            c_row = in(reg) size_of::<f32>() * to.1,
            next = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
