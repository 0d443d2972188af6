//! What rules, their parts, estimators and optimizers have in common: state, settings to check, a name, and parts.

use crate::{Params, State};
use candle_core::{Result, bail};

/// Anything that is configured once and used in every step: a rule or a part of one, an estimator, an optimizer.
///
/// Implementors write what is their own: [`own_state`](Component::own_state) and [`own_check`](Component::own_check),
/// or nothing. What contains other components lists them with [`parts!`](crate::parts); their state, checks and names
/// are then part of its own. Callers use [`state`](Component::state), [`check`](Component::check) and
/// [`name`](Component::name), which visit all parts.
///
/// ```
/// use candle_core::Result;
/// use msharp_core::{Component, Params, State, parts};
///
/// struct CountSteps<P> {
///     inner: P,
///     step: u64,
/// }
///
/// impl<P: Component> Component for CountSteps<P> {
///     parts!(inner);
///
///     fn own_state(&mut self, _: &Params, state: &mut State) -> Result<()> {
///         state.count("step", &mut self.step)
///     }
/// }
/// ```
pub trait Component {
    /// Saves or restores what this component itself carries from step to step. Nothing by default.
    fn own_state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// Checks this component's own settings: a constant out of its range, a selection that selects no parameter.
    /// Nothing by default.
    fn own_check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// The components that this one contains, by the names of their fields. Written by [`parts!`](crate::parts).
    fn parts(&self) -> Vec<(&'static str, &dyn Component)> {
        Vec::new()
    }

    /// As [`parts`](Component::parts).
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut dyn Component)> {
        Vec::new()
    }

    /// The name of the type, with the names of the parts in parentheses: `Averaged(L2)`. A checkpoint records it, so
    /// that state is not restored into something else.
    fn name(&self) -> String {
        let parts: Vec<String> = self.parts().iter().map(|(_, part)| part.name()).collect();
        match parts.is_empty() {
            true => type_name::<Self>(),
            false => format!("{}({})", type_name::<Self>(), parts.join(", ")),
        }
    }

    /// Saves or restores the state of this component and of its parts, nested under their names. Do not override it.
    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        if self.parts().len() != self.parts_mut().len() {
            bail!("{} lists other parts in `parts` than in `parts_mut`; expected `parts!`", self.name())
        }
        self.own_state(params, state)?;
        self.parts_mut().into_iter().try_for_each(|(name, part)| part.state(params, &mut state.part(name)))
    }

    /// Checks the settings of this component and of its parts. A trainer calls it before the first step, a composed
    /// rule in every step. Do not override it.
    ///
    /// # Errors
    /// What can be known to be wrong before the first step, with the setting and what was expected.
    fn check(&self, params: &Params) -> Result<()> {
        self.own_check(params)?;
        self.parts().into_iter().try_for_each(|(_, part)| part.check(params))
    }
}

/// Lists the fields that are [`Component`]s themselves, inside an `impl Component`.
#[macro_export]
macro_rules! parts {
    ($($field:ident),+) => {
        fn parts(&self) -> Vec<(&'static str, &dyn $crate::Component)> {
            vec![$((stringify!($field), &self.$field)),+]
        }

        fn parts_mut(&mut self) -> Vec<(&'static str, &mut dyn $crate::Component)> {
            vec![$((stringify!($field), &mut self.$field)),+]
        }
    };
}

impl<T: Component + ?Sized> Component for Box<T> {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).own_state(params, state)
    }

    fn own_check(&self, params: &Params) -> Result<()> {
        (**self).own_check(params)
    }

    fn parts(&self) -> Vec<(&'static str, &dyn Component)> {
        (**self).parts()
    }

    fn parts_mut(&mut self) -> Vec<(&'static str, &mut dyn Component)> {
        (**self).parts_mut()
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

/// The name of a type without its modules and parameters: `Averaged` for `msharp_perturb::Averaged<L2>`.
fn type_name<T: ?Sized>() -> String {
    let full = std::any::type_name::<T>();
    let bare = full.split('<').next().unwrap_or(full);
    bare.rsplit("::").next().unwrap_or(bare).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};
    use std::collections::BTreeMap;

    struct Leaf(u64);
    struct Both<A, B> {
        left: A,
        right: B,
    }

    impl Component for Leaf {
        fn own_state(&mut self, _: &Params, state: &mut State) -> Result<()> {
            state.count("step", &mut self.0)
        }

        fn own_check(&self, _: &Params) -> Result<()> {
            if self.0 > 9 { bail!("step is {}", self.0) } else { Ok(()) }
        }
    }

    impl<A: Component, B: Component> Component for Both<A, B> {
        parts!(left, right);
    }

    struct Forgetful(Leaf);

    impl Component for Forgetful {
        fn parts(&self) -> Vec<(&'static str, &dyn Component)> {
            vec![("leaf", &self.0)]
        }
    }

    #[test]
    fn parts_are_named_checked_saved_and_restored_through_boxes() -> Result<()> {
        let params = Params::new([("x".to_owned(), Var::zeros(1, DType::F32, &Device::Cpu)?)])?;
        let both = |a, b| Both { left: Leaf(a), right: Box::new(Both { left: Leaf(b), right: Leaf(5) }) };
        let mut one: Box<dyn Component> = Box::new(both(3, 4));
        assert_eq!(one.name(), "Both(Leaf, Both(Leaf, Leaf))");
        one.check(&params)?;
        assert!(both(3, 10).check(&params).unwrap_err().to_string().contains("step is 10"));
        let mut saved = BTreeMap::new();
        one.state(&params, &mut State::save("rule", &mut saved))?;
        assert!(saved.contains_key("rule/left/step") && saved.contains_key("rule/right/left/step"));
        let mut other = both(0, 0);
        other.state(&params, &mut State::load("rule", &saved))?;
        assert_eq!((other.left.0, other.right.left.0, other.right.right.0), (3, 4, 5));
        let error = Forgetful(Leaf(0)).state(&params, &mut State::save("", &mut saved)).unwrap_err().to_string();
        assert!(error.contains("parts!"), "{error}");
        Ok(())
    }
}
