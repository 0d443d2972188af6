//! What a rule of the catalogue is built with, and what comes of it.

use crate::{Descend, Sharp};
use candle_core::Result;
use msharp_core::{Ascent, Combine, DataSource, Direction, GradNormEstimator, Gradient, Offset, Perturbation};

/// What rules are computed with that no text can hold.
#[derive(Default)]
pub struct Supplies {
    /// For rules that weigh samples by their gradient norms.
    pub estimator: Option<Box<dyn GradNormEstimator>>,
    /// For rules that ascend along the gradient of the whole training set.
    pub data: Option<Box<dyn DataSource>>,
}

impl Supplies {
    /// An estimator alone.
    pub fn estimator(estimator: impl GradNormEstimator + 'static) -> Self {
        Self { estimator: Some(Box::new(estimator)), data: None }
    }

    /// A data set alone.
    pub fn data(data: impl DataSource + 'static) -> Self {
        Self { estimator: None, data: Some(Box::new(data)) }
    }
}

/// A rule in its parts.
pub enum Built {
    /// It ascends along a gradient at x, so that any combination can follow.
    AtX {
        /// Where the ascent gradient comes from.
        ascent: Box<dyn Ascent<Uphill = Gradient>>,
        /// How it becomes an offset.
        offset: Box<dyn Offset>,
        /// How the gradients at x and x + ε combine.
        combine: Box<dyn Combine>,
    },
    /// It ascends along a direction that is no gradient at x, and descends the gradient at x + ε.
    Along {
        /// Where the direction comes from.
        ascent: Box<dyn Ascent<Uphill = Direction>>,
        /// How it becomes an offset.
        offset: Box<dyn Offset>,
    },
    /// It has no parts that can be exchanged.
    Whole(Box<dyn Perturbation>),
}

impl Built {
    pub(super) fn at_x<A, O, C>(rule: Sharp<A, O, C>) -> Self
    where
        A: Ascent<Uphill = Gradient> + 'static,
        O: Offset + 'static,
        C: Combine + 'static,
    {
        Self::AtX { ascent: Box::new(rule.ascent), offset: Box::new(rule.offset), combine: Box::new(rule.combine) }
    }

    pub(super) fn along<A, O>(rule: Sharp<A, O>) -> Self
    where
        A: Ascent<Uphill = Direction> + 'static,
        O: Offset + 'static,
    {
        Self::Along { ascent: Box::new(rule.ascent), offset: Box::new(rule.offset) }
    }

    pub(super) fn whole(rule: impl Perturbation + 'static) -> Self {
        Self::Whole(Box::new(rule))
    }

    /// The same with what `change` makes of its offset.
    ///
    /// # Errors
    /// If the rule has no parts that can be exchanged, as `m-sam`: wrap the rule that it is made of.
    pub fn map_offset(self, change: impl FnOnce(Box<dyn Offset>) -> Box<dyn Offset>) -> Result<Self> {
        Ok(match self {
            Self::AtX { ascent, offset, combine } => Self::AtX { ascent, offset: change(offset), combine },
            Self::Along { ascent, offset } => Self::Along { ascent, offset: change(offset) },
            Self::Whole(rule) => candle_core::bail!(
                "{} has no offset that can be exchanged; expected a rule that is composed of parts, as sam",
                rule.name()
            ),
        })
    }

    /// The same with another combination.
    ///
    /// # Errors
    /// If the rule computes no gradient at x.
    pub fn with_combine(self, other: Box<dyn Combine>) -> Result<Self> {
        match self {
            Self::AtX { ascent, offset, .. } => Ok(Self::AtX { ascent, offset, combine: other }),
            _ => candle_core::bail!(
                "{} needs the gradient at x, which this rule does not compute or does not share; expected a rule that \
                 ascends along it, as sam",
                other.name()
            ),
        }
    }

    /// The rule.
    pub fn rule(self) -> Box<dyn Perturbation> {
        match self {
            Self::AtX { ascent, offset, combine } => Box::new(Sharp { ascent, offset, combine }),
            Self::Along { ascent, offset } => Box::new(Sharp { ascent, offset, combine: Descend }),
            Self::Whole(rule) => rule,
        }
    }
}
