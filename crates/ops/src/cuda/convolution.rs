//! cuDNN's convolutions: a plan for each shape, chosen once.

use super::cudnn::{Descriptor, Handle, Kind, Name, NoteCode, Target};
use super::gpu::{Gpu, locked};
use super::launch::Pointer;
use crate::graph::Precision;
use crate::layers::Geometry;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::{Device, Error, Result, Tensor};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use sys::cudnnBackendHeurMode_t as Mode;
use sys::cudnnBackendNumericalNote_t as Note;

/// The three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// y from x and w.
    Forward,
    /// dx from dy and w.
    Input,
    /// dw from x and dy.
    Weight,
}

/// All plans of one GPU.
pub(super) struct Convolutions {
    handle: Handle,
    plans: BTreeMap<(Direction, Geometry, Precision), Arc<Choice>>,
}

/// How a convolution is computed.
enum Choice {
    /// By cuDNN.
    Plan(Plan),
    /// As a product of matrices, since cuDNN has no plan.
    Lowered(String),
}

/// The way that was chosen.
struct Plan {
    plan: Descriptor,
    workspace: usize,
    /// The number of cuDNN's engine, and its place among the suggestions, from 1.
    engine: i64,
    rank: usize,
    /// Alive as long as the plan is, which may refer to them.
    _parts: Vec<Descriptor>,
}

// SAFETY: cuDNN's objects may be used from any thread, one at a time; a lock guards them.
unsafe impl Send for Convolutions {}
// SAFETY: as above; a finished plan does not change.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Convolutions {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        Ok(Self { handle: Handle::new(stream.cu_stream())?, plans: BTreeMap::new() })
    }
}

/// Names of the tensors in a plan.
const X: i64 = 1;
const W: i64 = 2;
const Y: i64 = 3;

impl Gpu {
    /// Computes one of x `[b, h, w, c_in]`, w `[c_out, kh, kw, c_in]` and y `[b, h', w', c_out]` from the others, all
    /// of the element type that `precision` has.
    pub(super) fn convolve(
        &self,
        direction: Direction,
        g: &Geometry,
        precision: Precision,
        [x, w, y]: [Pointer; 3],
    ) -> Result<()> {
        let mut convolutions = locked(&self.convolutions);
        let key = (direction, *g, precision);
        let choice = match convolutions.plans.get(&key) {
            Some(choice) => choice.clone(),
            None => {
                let choice = match Plan::choose(&Target::Here(&convolutions.handle), direction, g, precision) {
                    Ok(plan) => Choice::Plan(plan),
                    Err(error) => Choice::Lowered(error.to_string()),
                };
                convolutions.plans.entry(key).or_insert(Arc::new(choice)).clone()
            }
        };
        let plan = match &*choice {
            Choice::Plan(plan) => plan,
            Choice::Lowered(_) => {
                drop(convolutions);
                return self.convolve_lowered(direction, g, precision, [x, w, y]);
            }
        };
        let workspace = self.workspace(plan.workspace)?;
        let pointers = [x, w, y].map(|pointer| pointer.0 as *mut c_void);
        let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &[X, W, Y])?
            .set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &pointers)?
            .set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[workspace.0 as *mut c_void])?
            .finish()?;
        plan.plan.execute(&convolutions.handle, &pack)
    }
}

/// How the convolutions that ran so far on a GPU are computed, a line for each: direction, sizes, precision, and
/// cuDNN's plan or why there is none. Empty for another device.
pub fn convolution_plans(device: &Device) -> Result<Vec<String>> {
    let Some(gpu) = Gpu::of_device(device)? else { return Ok(Vec::new()) };
    let convolutions = locked(&gpu.convolutions);
    let lines = convolutions.plans.iter().map(|((direction, g, precision), choice)| match &**choice {
        Choice::Plan(plan) => plan.line(*direction, g, *precision),
        Choice::Lowered(why) => format!("{}: as a product of matrices, for {why}", called(*direction, g, *precision)),
    });
    Ok(lines.collect())
}

/// The same for convolutions of `x` `[b, h, w, c_in]` with a `weight` `[c_out, c_in, kh, kw]`, by (stride, padding), on
/// a GPU that need not be in this machine: `properties` describes it, as JSON, which cuDNN calls
/// `CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION`. Three lines a convolution; cuDNN alone is needed, from 9.8 on.
///
/// `Err` if there is no plan for one of them.
#[doc(hidden)]
pub fn convolution_plans_for(
    properties: &str,
    precision: Precision,
    convolutions: &[(&Tensor, &Tensor, usize, usize)],
) -> Result<Vec<String>> {
    let text: Vec<c_char> = properties.bytes().chain([0]).map(|byte| byte as c_char).collect();
    let described = Descriptor::new(Kind::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, &text)?
        .finish()?;
    let mut lines = Vec::new();
    for (x, weight, stride, padding) in convolutions {
        let g = Geometry::of(x, weight, (*stride, *stride), (*padding, *padding))?;
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            let plan = Plan::choose(&Target::Described(&described), direction, &g, precision)
                .map_err(|error| error.context(called(direction, &g, precision)))?;
            lines.push(plan.line(direction, &g, precision));
        }
    }
    Ok(lines)
}

fn called(direction: Direction, g: &Geometry, precision: Precision) -> String {
    let Geometry { batch, height, width, c_in, c_out, kernel: (kh, kw), stride: (sy, _), .. } = g;
    format!("{direction:?} {kh}×{kw}/{sy} {c_in}→{c_out} at {batch}×{height}×{width} in {precision:?}")
}

impl Plan {
    /// The first of cuDNN's suggestions, best first, that exists, repeats to the bit, and is as exact as it must be.
    ///
    /// Nothing is timed: a choice that depends on noise would make two runs of one program differ.
    fn choose(target: &Target, direction: Direction, g: &Geometry, precision: Precision) -> Result<Self> {
        let mut parts = Vec::new();
        let graph = operation(target, direction, g, precision, &mut parts)?;
        let mut refused = Error::msg("cuDNN suggests nothing");
        let mut rank = 0;
        for mode in [Mode::CUDNN_HEUR_MODE_A, Mode::CUDNN_HEUR_MODE_FALLBACK] {
            for suggestion in suggestions(target, &graph, mode)? {
                rank += 1;
                match Self::of(target, &suggestion, precision) {
                    Ok(Some(plan)) => {
                        parts.extend([suggestion, graph]);
                        return Ok(Self { rank, _parts: parts, ..plan });
                    }
                    Ok(None) => {}
                    Err(error) => refused = error,
                }
            }
        }
        Err(refused)
    }

    fn line(&self, direction: Direction, g: &Geometry, precision: Precision) -> String {
        let Self { engine, rank, workspace, .. } = self;
        let name = called(direction, g, precision);
        format!("{name}: cuDNN's engine {engine}, its suggestion {rank}, {workspace} bytes of workspace")
    }

    /// A plan and the bytes that it needs; `None` for one that is rejected.
    fn of(target: &Target, suggestion: &Descriptor, precision: Precision) -> Result<Option<Self>> {
        let never = [
            Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC,
            Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
            Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
        ];
        let inexact = [
            Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
            Note::CUDNN_NUMERICAL_NOTE_FFT,
            Note::CUDNN_NUMERICAL_NOTE_WINOGRAD,
        ];
        let (engine, notes) = engine_of(suggestion)?;
        let has = |note: &Note| notes.contains(&NoteCode(*note as i32));
        if never.iter().any(has) || (precision == Precision::F32 && inexact.iter().any(has)) {
            return Ok(None);
        }
        let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
        let (handle, described) = (Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
        let plan = target
            .tell(plan, Some(handle), Some(described))?
            .set_descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[suggestion])?
            .finish()?;
        let bytes = plan.get(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 1, 0i64)?;
        let workspace = bytes.first().copied().unwrap_or(0) as usize;
        Ok(Some(Self { plan, workspace, engine, rank: 0, _parts: Vec::new() }))
    }
}

/// The ways that cuDNN suggests, best first.
fn suggestions(target: &Target, graph: &Descriptor, mode: Mode) -> Result<Vec<Descriptor>> {
    const MOST: usize = 64;
    let heuristics = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
        .set_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[graph])?
        .set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, &[mode])?;
    let heuristics = target.tell(heuristics, None, Some(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP))?.finish()?;
    let room = (0..MOST).map(|_| Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)).collect::<Result<_>>()?;
    heuristics.get_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, room)
}

/// The engine of a suggestion, and its numerical notes.
fn engine_of(suggestion: &Descriptor) -> Result<(i64, Vec<NoteCode>)> {
    const MOST: usize = 32;
    let room = vec![Descriptor::new(Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?];
    let engine = suggestion.get_descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, room)?;
    match engine.first() {
        Some(engine) => {
            let notes = engine.get(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, MOST, NoteCode(-1))?;
            let number = engine.get(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1, -1i64)?;
            Ok((number.first().copied().unwrap_or(-1), notes))
        }
        None => Ok((-1, Vec::new())),
    }
}

/// The graph of one convolution. Its parts go to `parts`, and must live as long as it is used.
fn operation(
    target: &Target,
    direction: Direction,
    g: &Geometry,
    precision: Precision,
    parts: &mut Vec<Descriptor>,
) -> Result<Descriptor> {
    let pair = |(a, b): (usize, usize)| [a as i64, b as i64];
    let convolution = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, &[sys::cudnnDataType_t::CUDNN_DATA_FLOAT])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, &[sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2i64])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &pair(g.padding))?
        .set(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &pair(g.padding))?
        .set(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &[1i64, 1])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &pair(g.stride))?
        .finish()?;
    let x = tensor(X, precision, [g.batch, g.c_in, g.height, g.width])?;
    let w = tensor(W, precision, [g.c_out, g.c_in, g.kernel.0, g.kernel.1])?;
    let y = tensor(Y, precision, [g.batch, g.c_out, g.out_height, g.out_width])?;
    use Name as N;
    let (kind, [to_x, to_w, to_y, by, alpha, beta]) = match direction {
        Direction::Forward => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            [
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            ],
        ),
        Direction::Input => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            [
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            ],
        ),
        Direction::Weight => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            [
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            ],
        ),
    };
    let operation = Descriptor::new(kind)?
        .set_descriptors(to_x, &[&x])?
        .set_descriptors(to_w, &[&w])?
        .set_descriptors(to_y, &[&y])?
        .set_descriptors(by, &[&convolution])?
        .set(alpha, &[1f32])?
        .set(beta, &[0f32])?
        .finish()?;
    let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
    let graph = target
        .tell(graph, Some(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE), None)?
        .set_descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &[&operation])?
        .finish()?;
    parts.extend([convolution, x, w, y, operation]);
    Ok(graph)
}

/// A tensor's descriptor: cuDNN lists the channels second; in memory they are last.
fn tensor(id: i64, precision: Precision, [n, c, h, w]: [usize; 4]) -> Result<Descriptor> {
    let dtype = match precision {
        Precision::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Precision::F32 | Precision::Tf32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    };
    Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, &[dtype])?
        .set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &[n, c, h, w].map(|n| n as i64))?
        .set(Name::CUDNN_ATTR_TENSOR_STRIDES, &[h * w * c, 1, w * c, c].map(|n| n as i64))?
        .set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[id])?
        .set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[16i64])?
        .finish()
}
