//! Learning rates, weight decay and momentum by groups of parameters.

use candle_core::{Result, bail};
use msharp_core::{Component, Optimizer, Param, ParamVec, Params, Range, Select, State};

/// One optimizer for each group of parameters, at a learning rate of its own: as in fine-tuning, where the pretrained
/// layers move less than the new head.
///
/// A parameter belongs to the first group that holds it. Each optimizer has its state, weight decay and momentum for
/// its own parameters.
///
/// ```
/// use msharp_train::{ParamGroups, Sgd};
/// let sgd = || Box::new(Sgd { momentum: 0.9, ..Sgd::default() });
/// let optimizer = ParamGroups::new().add("fc.*".parse()?, 1., sgd()).add("*".parse()?, 0.1, sgd());
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// Before the first step: if a group holds no parameter that is not in an earlier one, or a parameter is in no group.
#[derive(Default)]
pub struct ParamGroups {
    groups: Vec<Group>,
}

struct Group {
    select: Select,
    lr_factor: f64,
    optimizer: Box<dyn Optimizer>,
}

impl ParamGroups {
    /// Without groups yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a group: which parameters, the factor on their learning rate, and how they are stepped with.
    pub fn add(mut self, select: Select, lr_factor: f64, optimizer: Box<dyn Optimizer>) -> Self {
        self.groups.push(Group { select, lr_factor, optimizer });
        self
    }

    /// The parameters of each group.
    fn split(&self, params: &Params) -> Result<Vec<Params>> {
        let group_of = |param: &Param| self.groups.iter().position(|group| group.select.holds(param));
        if let Some(param) = params.iter().find(|param| group_of(param).is_none()) {
            bail!("parameter {:?} is in no group of the optimizer; expected a last group for the rest, `*`", param.name)
        }
        let part = |(i, group): (usize, &Group)| {
            let own = params.iter().filter(|param| group_of(param) == Some(i)).cloned();
            let own: Vec<_> = own.map(|param| (param.name, param.var, Some(param.role))).collect();
            match own.is_empty() {
                true => bail!(
                    "the group {} of the optimizer holds no parameter that is not in an earlier one",
                    group.select
                ),
                false => Params::with_roles(own),
            }
        };
        self.groups.iter().enumerate().map(part).collect()
    }
}

impl Component for ParamGroups {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        let parts = self.split(params)?;
        for (i, (group, part)) in self.groups.iter_mut().zip(&parts).enumerate() {
            group.optimizer.state(part, &mut state.part(&format!("group-{i}")))?;
        }
        Ok(())
    }

    fn own_check(&self, params: &Params) -> Result<()> {
        for (group, part) in self.groups.iter().zip(&self.split(params)?) {
            Range::AT_LEAST_0.check("the factor on the learning rate of a group", group.lr_factor)?;
            group.optimizer.check(part)?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        let groups = self.groups.iter().map(|group| format!("{} of {}", group.optimizer.name(), group.select));
        format!("ParamGroups({})", groups.collect::<Vec<_>>().join(", "))
    }
}

impl Optimizer for ParamGroups {
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
        let parts = self.split(params)?;
        for (group, part) in self.groups.iter_mut().zip(&parts) {
            let own = params.iter().zip(grads.tensors());
            let own = own.filter(|(param, _)| part.iter().any(|other| other.name == param.name));
            let grads = ParamVec::new(part, own.map(|(_, grad)| grad.clone()).collect());
            group.optimizer.step(part, &grads, lr * group.lr_factor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdamW, Sgd};
    use candle_core::{DType, Device, Tensor, Var};
    use msharp_core::{Key, testing};

    fn params() -> Result<Params> {
        let var = |n: usize| Var::ones((n, 2), DType::F32, &Device::Cpu);
        Params::new([("body.weight".to_owned(), var(3)?), ("fc.weight".to_owned(), var(2)?)])
    }

    fn sgd() -> Box<dyn Optimizer> {
        Box::new(Sgd { momentum: 0.9, weight_decay: 0.01, ..Sgd::default() })
    }

    /// With one factor everywhere it is the optimizer without groups, to the bit; with others each part is that of a
    /// run at its own rate.
    #[test]
    fn each_group_steps_as_it_would_alone() -> Result<()> {
        let run = |mut optimizer: Box<dyn Optimizer>, lr: f64| -> Result<Vec<Vec<f32>>> {
            let params = params()?;
            for k in 0..3 {
                optimizer.step(&params, &ParamVec::gaussian(&params, Key::new(k))?, lr)?;
            }
            params.iter().map(|param| param.var.flatten_all()?.to_vec1()).collect()
        };
        let grouped = |head: f64| -> Result<Box<dyn Optimizer>> {
            Ok(Box::new(ParamGroups::new().add("fc.*".parse()?, head, sgd()).add("*".parse()?, 1., sgd())))
        };
        assert_eq!(run(grouped(1.)?, 0.1)?, run(sgd(), 0.1)?);
        let (found, slow, fast) = (run(grouped(4.)?, 0.1)?, run(sgd(), 0.1)?, run(sgd(), 0.4)?);
        assert_eq!((&found[0], &found[1]), (&slow[0], &fast[1]));
        Ok(())
    }

    #[test]
    fn groups_that_leave_something_out_are_refused_and_state_is_kept() -> Result<()> {
        let params = params()?;
        let error = ParamGroups::new().add("fc.*".parse()?, 1., sgd()).check(&params).unwrap_err().to_string();
        assert!(error.contains("\"body.weight\"") && error.contains("no group"), "{error}");
        let shadowed = ParamGroups::new().add("*".parse()?, 1., sgd()).add("fc.*".parse()?, 1., sgd());
        assert!(shadowed.check(&params).unwrap_err().to_string().contains("fc.*"));
        let negative = ParamGroups::new().add("*".parse()?, -1., sgd());
        assert!(negative.check(&params).unwrap_err().to_string().contains("expected"));
        let nothing = ParamVec::new(
            &params,
            vec![Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?, Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?],
        );
        assert!(ParamGroups::new().step(&params, &nothing, 0.1).is_err());
        testing::check_optimizer_resumes(|| {
            let all = "outer.*".parse().and_then(|outer| Ok((outer, "*".parse()?)));
            let (outer, rest) = all.expect("two globs");
            ParamGroups::new().add(outer, 0.5, sgd()).add(rest, 1., Box::new(AdamW::default()))
        })
    }
}
