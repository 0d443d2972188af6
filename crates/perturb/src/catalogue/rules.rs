//! The catalogue of rules. To add one, add an entry.

use super::built::{Built, Supplies};
use super::choice::{Kind, Rules};
use super::combinations::{ALPHA_BLEND, ALPHA_GSAM, ALPHA_LOOK, GAMMA_ESAM, GAMMA_WSAM, K};
use super::entry::{Entry, Needs, Parameter, Value, Values};
use super::offsets::{ALPHA_EIGEN, BETA, L, LAMBDA, SIGMA, THETA};
use crate::constructors::*;
use crate::{L2, Momentum, Plain, Sampa, Smoothed};
use msharp_core::{DataSource, GradNormEstimator, Range, Temperature};

/// An entry of this catalogue.
type Listed = Entry<<Rules as Kind>::Build>;

/// All rules.
pub const fn rules() -> &'static [Listed] {
    &RULES
}

const RHO: Parameter = Parameter::number("rho", 0.1, L2::RHO, "ρ, the radius of the perturbation");
const RHO_ADAPTIVE: Parameter = Parameter { default: Value::Number(0.5), ..RHO };
const M: Parameter = Parameter::count("m", 32., "the samples of a micro-batch");
const TEMPERATURES: [&str; 3] = ["effective-size", "relative", "raw"];
const TEMPERATURE: Parameter = Parameter::name(
    "temperature",
    &TEMPERATURES,
    "what lambda is: effective-size, the m_eff = 1/Σp² to reach (a larger one makes the weights more equal); relative, λ for \
     norms divided by their batch mean; raw, λ as in the paper",
);
const LAMBDA_RW: Parameter =
    Parameter::number("lambda", 32., Range::AT_LEAST_0, "m_eff or λ of p = softmax(λ‖∇ℓᵢ‖), as temperature says")
        .special(&[(0., "sam, which weighs all samples alike")]);

/// What most entries have in common: a radius, and nothing else that they need.
const fn entry(name: &'static str, label: &'static str, about: &'static str) -> Listed {
    Entry {
        name,
        label,
        about,
        parameters: &[RHO],
        formula: "",
        reference: "",
        radius: "",
        needs: Needs::Nothing,
        parts: None,
        check: |_| Ok(()),
        build: |_, _| Ok(Built::whole(Plain)),
    }
}

static RULES: [Listed; 33] = [
    Entry {
        parameters: &[],
        formula: "g",
        reference: "–",
        build: |_, _| Ok(Built::whole(Plain)),
        ..entry("sgd", "SGD", "No perturbation")
    },
    Entry {
        formula: "s at ε = ρĝ",
        reference: "Foret et al., ICLR 2021",
        radius: "0.05 (CIFAR-10), 0.1 (CIFAR-100)",
        build: |v, _| Ok(Built::at_x(sam(v.number("rho")))),
        parts: Some(["mean", "l2", "descend"]),
        ..entry("sam", "SAM", "Sharpness-aware minimisation")
    },
    Entry {
        formula: "s at ε = ρg",
        reference: "Andriushchenko, Flammarion, ICML 2022",
        build: |v, _| Ok(Built::at_x(usam(v.number("rho")))),
        parts: Some(["mean", "raw", "descend"]),
        ..entry("usam", "USAM", "SAM without the normalisation of the gradient")
    },
    Entry {
        parameters: &[RHO, M],
        formula: "mean of SAM's s over micro-batches of m samples",
        reference: "Foret et al., ICLR 2021, §4.1",
        build: |v, _| Ok(Built::whole(m_sam(v.number("rho"), v.count("m")))),
        ..entry("m-sam", "m-SAM", "SAM on each micro-batch of m samples, averaged")
    },
    Entry {
        parameters: &[RHO, M],
        formula: "mean of USAM's s over micro-batches of m samples",
        reference: "Andriushchenko, Flammarion, ICML 2022",
        build: |v, _| Ok(Built::whole(m_usam(v.number("rho"), v.count("m")))),
        ..entry("m-usam", "m-USAM", "USAM on each micro-batch of m samples, averaged")
    },
    Entry {
        parameters: &[RHO, M],
        formula: "mean of the batch's s at ε = ρĝ of each micro-batch of m samples",
        reference: "– (a control of m-sam, *m-SAM, shared descent* in `reweighting`)",
        build: |v, _| Ok(Built::whole(m_ascent_sam(v.number("rho"), v.count("m")))),
        ..entry(
            "m-ascent-sam",
            "m-SAM, shared descent",
            "The perturbations of m-SAM, at each of which the whole batch descends",
        )
    },
    Entry {
        formula: "s at ε = ρû, u = ∇f of the whole set",
        reference: "Luo et al., NeurIPS 2025",
        needs: Needs::Data,
        build: |v, supplies| Ok(Built::at_x(n_sam(v.number("rho"), data(supplies)?))),
        parts: Some(["full-batch", "l2", "descend"]),
        ..entry("n-sam", "n-SAM", "SAM with the perturbation of the whole training set (very slow)")
    },
    Entry {
        formula: "s at ε = ρ∇f of the whole set",
        reference: "Luo et al., NeurIPS 2025",
        needs: Needs::Data,
        build: |v, supplies| Ok(Built::at_x(n_usam(v.number("rho"), data(supplies)?))),
        parts: Some(["full-batch", "raw", "descend"]),
        ..entry("n-usam", "n-USAM", "USAM with the perturbation of the whole training set (very slow)")
    },
    Entry {
        parameters: &[RHO, LAMBDA_RW, TEMPERATURE],
        formula: "s at ε = ρû, u = Σpᵢ∇ℓᵢ, p = softmax(λ‖∇ℓᵢ‖)",
        reference: "Luo et al., NeurIPS 2025",
        needs: Needs::Estimator,
        check: |v| check_lambda(v),
        build: |v, supplies| Ok(Built::at_x(rw_sam(v.number("rho"), temperature(v), estimator(supplies)?))),
        parts: Some(["gibbs", "l2", "descend"]),
        ..entry("rw-sam", "RW-SAM", "SAM with samples weighted by the softmax of their gradient norms")
    },
    Entry {
        parameters: &[RHO, LAMBDA_RW, TEMPERATURE],
        formula: "s at ε = ρΣpᵢ∇ℓᵢ, p = softmax(λ‖∇ℓᵢ‖)",
        reference: "Luo et al., NeurIPS 2025",
        needs: Needs::Estimator,
        check: |v| check_lambda(v),
        build: |v, supplies| Ok(Built::at_x(rw_usam(v.number("rho"), temperature(v), estimator(supplies)?))),
        parts: Some(["gibbs", "raw", "descend"]),
        ..entry("rw-usam", "RW-USAM", "USAM with samples weighted by the softmax of their gradient norms")
    },
    Entry {
        formula: "s at ε = ρû, u = Σpᵢ∇ℓᵢ, pᵢ = ‖∇ℓᵢ‖/Σ‖∇ℓⱼ‖",
        reference: "Zhou et al., EMNLP 2022",
        needs: Needs::Estimator,
        build: |v, supplies| Ok(Built::at_x(delta_sam(v.number("rho"), estimator(supplies)?))),
        parts: Some(["proportional", "l2", "descend"]),
        ..entry("delta-sam", "δ-SAM", "SAM with samples weighted in proportion to their gradient norms")
    },
    Entry {
        parameters: &[RHO_ADAPTIVE],
        formula: "s at ε = ρT²g/‖Tg‖, T = abs(x)",
        reference: "Kwon et al., ICML 2021, as in davda54/sam",
        radius: "2 (CIFAR-10)",
        build: |v, _| Ok(Built::at_x(asam(v.number("rho")))),
        parts: Some(["mean", "adaptive", "descend"]),
        ..entry("asam", "ASAM", "Adaptive SAM: the perturbation of each parameter is scaled with its size")
    },
    Entry {
        parameters: &[RHO_ADAPTIVE],
        formula: "as asam, T = abs(x) + 0.01 on weights, 1 on biases",
        reference: "Kwon et al., ICML 2021",
        radius: "0.5 (CIFAR-10), 1 (CIFAR-100)",
        build: |v, _| Ok(Built::at_x(asam_weights(v.number("rho")))),
        parts: Some(["mean", "adaptive-weights", "descend"]),
        ..entry("asam-weights", "ASAM (weights)", "Adaptive SAM as its authors have it: biases are not scaled")
    },
    Entry {
        formula: "as asam, T = ‖X‖ of each tensor",
        reference: "Müller et al., NeurIPS 2023",
        build: |v, _| Ok(Built::at_x(layer_sam(v.number("rho")))),
        parts: Some(["mean", "adaptive-tensor", "descend"]),
        ..entry("layer-sam", "layer-wise SAM", "Adaptive SAM with one scale for each tensor")
    },
    Entry {
        formula: "s at ε = ρ sign(g)",
        reference: "Foret et al., ICLR 2021, p = ∞",
        build: |v, _| Ok(Built::at_x(linf_sam(v.number("rho")))),
        parts: Some(["mean", "linf", "descend"]),
        ..entry("linf-sam", "L∞ SAM", "SAM in the L∞ norm; ρ is the distance that each parameter moves")
    },
    Entry {
        parameters: &[RHO, L],
        formula: "s at ε = ρ(1 − l + l/‖g‖)g",
        reference: "Oikonomou, Loizou, ICLR 2025",
        build: |v, _| Ok(Built::at_x(unified_sam(v.number("rho"), v.number("l")))),
        parts: Some(["mean", "unified", "descend"]),
        ..entry("unified-sam", "Unified SAM", "Between USAM and SAM")
    },
    Entry {
        parameters: &[RHO, Parameter::count("k", 2., "the number of ascent steps").special(&[(1., "sam")])],
        formula: "s at ε = Σεⱼ, εⱼ = (ρ/k)ĝ at the point reached",
        reference: "Foret et al., ICLR 2021, appendix",
        build: |v, _| Ok(Built::at_x(multi_step_sam(v.number("rho"), v.count("k")))),
        parts: Some(["mean", "steps-l2", "descend"]),
        ..entry("multi-step-sam", "multi-step SAM", "SAM with k ascent steps of radius ρ/k")
    },
    Entry {
        parameters: &[
            RHO,
            ALPHA_GSAM,
            Parameter::number(
                "rho-min",
                0.,
                Range::AT_LEAST_0,
                "the radius at learning rate 0; rho is that at the base rate",
            ),
        ],
        formula: "s − α(g − ⟨g, ŝ⟩ŝ), ε = (ρ_min + (ρ − ρ_min)η/η₀)ĝ",
        reference: "Zhuang et al., ICLR 2022",
        radius: "0.6 falling to 0.1 (ImageNet, ViT)",
        check: |v| match (v.number("rho"), v.number("rho-min")) {
            (rho, min) if min > rho => Err(format!("rho-min is {min}; expected at most rho, {rho}")),
            _ => Ok(()),
        },
        build: |v, _| Ok(Built::at_x(gsam(v.number("rho"), v.number("alpha"), v.number("rho-min")))),
        parts: Some(["mean", "scheduled-l2", "gsam"]),
        ..entry("gsam", "GSAM", "Surrogate gap: s less the part of g orthogonal to it; ρ follows the learning rate")
    },
    Entry {
        parameters: &[RHO, SIGMA, LAMBDA],
        formula: "s at ε = ρû, u = g − σm, m ← λm + (1 − λ)g",
        reference: "Li et al., CVPR 2024",
        radius: "0.2 (CIFAR-100)",
        build: |v, _| Ok(Built::at_x(friendly_sam(v.number("rho"), v.number("sigma"), v.number("lambda")))),
        parts: Some(["mean", "friendly", "descend"]),
        ..entry("friendly-sam", "F-SAM", "Friendly SAM: perturbed along the gradient less its moving average")
    },
    Entry {
        parameters: &[RHO, THETA],
        formula: "s at ε = ρm̂, m ← (1 − θ)m + θg",
        reference: "Li, Giannakis, NeurIPS 2023",
        radius: "0.2 (CIFAR-100)",
        build: |v, _| Ok(Built::at_x(vasso(v.number("rho"), v.number("theta")))),
        parts: Some(["mean", "averaged", "descend"]),
        ..entry("vasso", "VaSSO", "Perturbed along a moving average of gradients")
    },
    Entry {
        parameters: &[RHO, K, ALPHA_LOOK],
        formula: "s, v = s − ⟨s, ĝ⟩ĝ every k-th step; else g + α‖g‖v̂",
        reference: "Liu et al., CVPR 2022",
        build: |v, _| Ok(Built::at_x(look_sam(v.number("rho"), v.count("k"), v.number("alpha")))),
        parts: Some(["mean", "l2", "look-sam"]),
        ..entry("look-sam", "LookSAM", "SAM in every k-th step, its part across g reused between")
    },
    Entry {
        parameters: &[RHO, BETA, GAMMA_ESAM],
        formula: "s of the ⌊γb⌋ samples that rise most, ε = ρĝ∘mask/β",
        reference: "Du et al., ICLR 2022",
        radius: "0.05 (CIFAR, ResNet-18), 0.1 (CIFAR, WRN-28-10)",
        build: |v, _| Ok(Built::at_x(esam(v.number("rho"), v.number("beta"), v.number("gamma")))),
        parts: Some(["mean", "sparse", "esam-select"]),
        ..entry("esam", "ESAM", "A random share of the parameters perturbed, a share of the samples descended")
    },
    Entry {
        parameters: &[RHO, GAMMA_WSAM],
        formula: "g + γ/(1 − γ)·(s − g)",
        reference: "Yue et al., KDD 2023",
        radius: "0.2 (CIFAR-10)",
        build: |v, _| Ok(Built::at_x(wsam(v.number("rho"), v.number("gamma")))),
        parts: Some(["mean", "l2", "wsam"]),
        ..entry("wsam", "WSAM", "Weighted sharpness as a regulariser")
    },
    Entry {
        formula: "‖g‖ŝ",
        reference: "Tan et al. 2024",
        radius: "0.05 (the authors' default)",
        build: |v, _| Ok(Built::at_x(stable_sam(v.number("rho")))),
        parts: Some(["mean", "l2", "stable"]),
        ..entry("stable-sam", "Stable SAM", "The direction of s at the length of g")
    },
    Entry {
        parameters: &[RHO, Parameter::number("mu", 0.9, Momentum::MU, "μ of the momentum v ← μv + s")],
        formula: "s at ε = −ρv̂, v ← μv + s",
        reference: "Becker et al. 2024",
        radius: "3 (CIFAR-100)",
        build: |v, _| Ok(Built::along(msam(v.number("rho"), v.number("mu")))),
        parts: Some(["momentum", "l2", "descend"]),
        ..entry("msam", "MSAM", "Momentum SAM: perturbed along the rule's own momentum, one pass")
    },
    Entry {
        formula: "s where ‖g‖² ≥ μ + cσ, else g; c from 1 to −1 over the run",
        reference: "Jiang et al., ICLR 2023",
        build: |v, _| Ok(Built::at_x(ae_sam(v.number("rho")))),
        parts: Some(["mean", "l2", "ae-sam"]),
        ..entry("ae-sam", "AE-SAM", "SAM in the steps in which ‖g‖² exceeds its running threshold")
    },
    Entry {
        parameters: &[RHO, ALPHA_EIGEN],
        formula: "s at ε = ρ(ĝ + α sign⟨g, v⟩(v − ⟨v, ĝ⟩ĝ)), v of the Hessian",
        reference: "Luo et al., NeurIPS 2024",
        radius: "0.1 (CIFAR-100)",
        build: |v, _| Ok(Built::at_x(eigen_sam(v.number("rho"), v.number("alpha")))),
        parts: Some(["mean", "eigen", "descend"]),
        ..entry("eigen-sam", "Eigen-SAM", "The perturbation turned towards the leading eigenvector v of the Hessian")
    },
    Entry {
        parameters: &[Parameter::number(
            "sigma",
            0.01,
            L2::RHO,
            "σ, the size of the noise relative to each filter's norm",
        )],
        formula: "s at ε = σTz, z ~ N(0, I), T = norm of each filter",
        reference: "Bisla et al., AISTATS 2022; Li et al. 2022",
        radius: "σ = 0.01 (CIFAR-100), 0.005 (ImageNet), with half of the clean gradient",
        build: |v, _| Ok(Built::along(rwp(v.number("sigma")))),
        parts: Some(["random", "raw", "descend"]),
        ..entry("rwp", "RWP", "Random weight perturbation, filter-wise: one pass")
    },
    Entry {
        parameters: &[
            RHO,
            Parameter::number("sigma", 0.01, Smoothed::SIGMA, "the size of the noise n").special(&[(0., "sam")]),
        ],
        formula: "s at ε = ρû, u = n + ∇f(x + n), n = σTz",
        reference: "Liu et al., NeurIPS 2022",
        radius: "2.5 falling to 1.5 (ImageNet, ViT)",
        build: |v, _| Ok(Built::along(r_sam(v.number("rho"), v.number("sigma")))),
        parts: Some(["smoothed", "l2", "descend"]),
        ..entry("r-sam", "R-SAM", "SAM at randomly perturbed weights")
    },
    Entry {
        parameters: &[RHO, ALPHA_BLEND],
        formula: "(1 − α)g + αs",
        reference: "Zhao et al., ICML 2022",
        radius: "0.1 (CIFAR-10), 0.05 (ImageNet)",
        build: |v, _| Ok(Built::at_x(pgn(v.number("rho"), v.number("alpha")))),
        parts: Some(["mean", "l2", "blend"]),
        ..entry("pgn", "PGN", "The penalty on the gradient norm")
    },
    Entry {
        formula: "as sam, ε = 0 on all but norm layers",
        reference: "Müller et al., NeurIPS 2023",
        radius: "10 (ImageNet, ViT, Lion)",
        build: |v, _| Ok(Built::at_x(sam_on(v.number("rho")))),
        parts: Some(["mean", "norm-layers-l2", "descend"]),
        ..entry("sam-on", "SAM-ON", "SAM on the parameters of norm layers only")
    },
    Entry {
        parameters: &[
            RHO,
            Parameter::number("lambda", 0.2, Sampa::LAMBDA, "the weight of the auxiliary gradient")
                .special(&[(1., "one that is not perturbed")]),
        ],
        formula: "(1 − λ)∇f(x + ρĝ) + λg⁺, g⁺ = ∇f(x − ηg), g ← g⁺",
        reference: "Xie et al., NeurIPS 2024",
        radius: "0.1 (CIFAR-10)",
        build: |v, _| Ok(Built::whole(sampa(v.number("rho"), v.number("lambda")))),
        ..entry(
            "sampa",
            "SAMPa",
            "The perturbation from an auxiliary iterate: two gradients that do not depend on each other",
        )
    },
    Entry {
        parameters: &[
            RHO,
            Parameter::number("start", 0.875, Range::BELOW_1, "the share of the run before SAM")
                .special(&[(0., "sam")]),
        ],
        formula: "g while t/T < start, then SAM's s",
        reference: "Zhou et al. 2024, arXiv 2410.10373",
        build: |v, _| Ok(Built::whole(late_phase_sam(v.number("rho"), v.number("start")))),
        ..entry(
            "late-phase-sam",
            "late-phase SAM",
            "The plain gradient first, and SAM in the last part of the run only",
        )
    },
];

fn temperature(v: &Values) -> Temperature {
    let lambda = v.number("lambda");
    match v.value("temperature") {
        Value::Name("raw") => Temperature::Raw(lambda),
        Value::Name("relative") => Temperature::Relative(lambda),
        _ => Temperature::EffectiveSize(lambda),
    }
}

fn check_lambda(v: &Values) -> Result<(), String> {
    let (lambda, range) = (v.number("lambda"), Temperature::SIZE);
    match temperature(v) {
        Temperature::EffectiveSize(_) if !range.holds(lambda) => {
            Err(format!("lambda is {lambda}, with the temperature effective-size; expected {range}"))
        }
        _ => Ok(()),
    }
}

fn estimator(supplies: &mut Supplies) -> candle_core::Result<Box<dyn GradNormEstimator>> {
    supplies.estimator.take().ok_or_else(|| candle_core::Error::msg("no estimator was supplied"))
}

fn data(supplies: &mut Supplies) -> candle_core::Result<Box<dyn DataSource>> {
    supplies.data.take().ok_or_else(|| candle_core::Error::msg("no data set was supplied"))
}
