//! cuBLASLt's products of matrices: an algorithm for each shape, chosen once.

use super::gpu::{Gpu, locked};
use super::launch::Pointer;
use crate::graph::Precision;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::{Error, Result};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// Bytes that an algorithm may use: what NVIDIA advises for Hopper.
const WORKSPACE: usize = 32 << 20;

/// What algorithms may assume of the addresses of A, B, C and D.
const MIN_ALIGNMENTS: [Preference; 4] = [
    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
];

/// A product of row-major matrices, c `[rows, columns]` = a · b with `inner` summands; `a` lies `[rows, inner]`, or
/// `[inner, rows]` if it is `transposed`; `b` `[inner, columns]`, or `[columns, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Product {
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
    pub transposed: (bool, bool),
    pub precision: Precision,
    /// Whether c is f32 although a and b are bfloat16.
    pub wide: bool,
    /// Many at once, or a single one whose rows lie back to back.
    pub batch: Option<Batch>,
}

/// Products of one shape: the next one's matrices begin where this one's rows end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Batch {
    pub count: usize,
    /// Elements between neighbouring rows of a, b and c, as they lie.
    pub apart: [usize; 3],
}

/// All algorithms of one GPU.
pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    /// Also by the alignment of a, b and c: a matrix inside of a tensor may begin anywhere.
    plans: BTreeMap<(Product, [u32; 3]), Arc<Plan>>,
}

/// A product as cuBLASLt describes it. It has column-major matrices only, in which ours are their transposes: what is
/// computed is cᵀ = bᵀ · aᵀ, so its first matrix is our second.
struct Plan {
    product: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: usize,
}

// SAFETY: cuBLASLt's objects may be used from any thread; a lock guards their making, and they do not change after.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Products {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { handle: result::create_handle().map_err(Error::wrap)?, plans: BTreeMap::new() })
    }
}

impl Gpu {
    /// c = a · b.
    pub(super) fn multiply(&self, product: Product, a: Pointer, b: Pointer, c: Pointer) -> Result<()> {
        self.multiply_onto(product, a, b, c, 0.)
    }

    /// c = a · b + beta · c.
    pub(super) fn multiply_onto(&self, product: Product, a: Pointer, b: Pointer, c: Pointer, beta: f32) -> Result<()> {
        let alignments = [a, b, c].map(alignment);
        let mut products = locked(&self.products);
        let plan = match products.plans.get(&(product, alignments)) {
            Some(plan) => plan.clone(),
            None => {
                let plan = Plan::choose(products.handle, &product, alignments)
                    .map_err(|error| error.context(format!("cuBLASLt has no algorithm for {product:?}")))?;
                products.plans.entry((product, alignments)).or_insert(Arc::new(plan)).clone()
            }
        };
        let workspace = self.workspace(plan.workspace)?;
        let one = 1f32;
        let [first, second, out] = plan.layouts;
        let at = |pointer: Pointer| pointer.0 as *mut c_void;
        // SAFETY: the matrices are of the sizes that the plan was made for.
        unsafe {
            result::matmul(
                products.handle,
                plan.product,
                (&raw const one).cast(),
                (&raw const beta).cast(),
                at(b),
                first,
                at(a),
                second,
                at(c),
                out,
                at(c),
                out,
                &plan.algorithm,
                at(workspace),
                plan.workspace,
                self.stream().cu_stream().cast(),
            )
        }
        .map_err(|error| Error::wrap(error).context(format!("{product:?}")))
    }
}

/// The largest power of two up to 256 at a multiple of which something lies.
fn alignment(Pointer(at): Pointer) -> u32 {
    1 << at.trailing_zeros().min(8)
}

impl Plan {
    /// cuBLASLt's first suggestion. Its algorithms repeat to the bit on one stream.
    fn choose(handle: sys::cublasLtHandle_t, p: &Product, [a, b, c]: [u32; 3]) -> Result<Self> {
        let float = sys::cudaDataType_t::CUDA_R_32F;
        let (input, compute) = match p.precision {
            Precision::F32 => (float, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Precision::Tf32 => (float, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32),
            Precision::Bf16 => (sys::cudaDataType_t::CUDA_R_16BF, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F),
        };
        let output = if p.wide { float } else { input };
        let product = result::create_matmul_desc(compute, float).map_err(Error::wrap)?;
        // Rows and columns as they lie in memory, seen column by column.
        let lies = |rows, columns, transposed| if transposed { (rows, columns) } else { (columns, rows) };
        let (of_b, of_a) = (lies(p.inner, p.columns, p.transposed.1), lies(p.rows, p.inner, p.transposed.0));
        let layout = |dtype, (rows, columns): (usize, usize), matrix: usize| {
            let apart = p.batch.map_or(rows, |batch| batch.apart[matrix]);
            let layout =
                result::create_matrix_layout(dtype, rows as u64, columns as u64, apart as i64).map_err(Error::wrap)?;
            if let Some(Batch { count, .. }) = p.batch {
                let (count, stride) = (count as i32, (apart * columns) as i64);
                // SAFETY: the attributes are numbers of 32 and 64 bits, which cuBLASLt copies.
                unsafe {
                    let attribute = sys::cublasLtMatrixLayoutAttribute_t::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
                    let value = (&raw const count).cast();
                    result::set_matrix_layout_attribute(layout, attribute, value, size_of::<i32>())
                        .map_err(Error::wrap)?;
                    let attribute = sys::cublasLtMatrixLayoutAttribute_t::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
                    let value = (&raw const stride).cast();
                    result::set_matrix_layout_attribute(layout, attribute, value, size_of::<i64>())
                        .map_err(Error::wrap)?;
                }
            }
            Ok::<_, Error>(layout)
        };
        let layouts = [layout(input, of_b, 1)?, layout(input, of_a, 0)?, layout(output, (p.columns, p.rows), 2)?];
        let [first, second, out] = layouts;
        for (attribute, transposed) in [
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSA, p.transposed.1),
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, p.transposed.0),
        ] {
            let operation = i32::from(transposed); // CUBLAS_OP_N, CUBLAS_OP_T
            // SAFETY: the attribute is a 32-bit number, which cuBLASLt copies.
            unsafe {
                let value = (&raw const operation).cast();
                result::set_matmul_desc_attribute(product, attribute, value, size_of::<i32>()).map_err(Error::wrap)?;
            }
        }
        let preference = result::create_matmul_pref().map_err(Error::wrap)?;
        // SAFETY: all descriptors exist, and the attributes are numbers of 64 and 32 bits, which cuBLASLt copies; the
        // preference is not used after it is destroyed.
        let found = unsafe {
            let attribute = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let bytes = WORKSPACE;
            result::set_matmul_pref_attribute(preference, attribute, (&raw const bytes).cast(), size_of::<usize>())
                .map_err(Error::wrap)?;
            // A is our b.
            for (attribute, bytes) in MIN_ALIGNMENTS.into_iter().zip([b, a, c, c]) {
                let value = (&raw const bytes).cast();
                result::set_matmul_pref_attribute(preference, attribute, value, size_of::<u32>())
                    .map_err(Error::wrap)?;
            }
            let found = result::get_matmul_algo_heuristic(handle, product, first, second, out, out, preference);
            result::destroy_matmul_pref(preference).map_err(Error::wrap)?;
            found.map_err(Error::wrap)?
        };
        Ok(Self { product, layouts, algorithm: found.algo, workspace: found.workspaceSize })
    }
}
