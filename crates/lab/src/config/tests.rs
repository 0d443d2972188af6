//! What a configuration is, says and refuses.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: RunConfig,
}

/// # Errors
/// Those of the command line.
pub fn try_parse(flags: &str) -> anyhow::Result<RunConfig> {
    Line::try_parse_from(["x"].into_iter().chain(flags.split_whitespace()))?.config.settled()
}

pub fn parse(flags: &str) -> RunConfig {
    try_parse(flags).unwrap()
}

#[test]
fn a_configuration_is_its_json() {
    let config = parse("--model wrn-16-4 --norm group-8 --schedule step:0.3,0.6:0.2 --rule rw-sam --subset 100");
    let read: RunConfig = serde_json::from_str(&config.json()).unwrap();
    assert_eq!(read, config);
    assert_eq!(config.rule_label(), "RW-SAM (m_eff = 32)");
    assert_eq!(config.id()[..], read.id()[..]);
    assert_ne!(config.id(), parse("").id());
    let named = |a: &RunConfig, b: &RunConfig| -> Vec<String> {
        a.differences(b).into_iter().map(|difference| difference.setting).collect()
    };
    assert_eq!(named(&parse(""), &parse("--rho 0.2 --batch-size 64")), ["rho", "batch-size"]);
    let other = parse("--offset adaptive --accumulate 8");
    assert_eq!(named(&parse(""), &other), ["offset", "accumulate"]);
    assert_eq!(named(&other, &parse("")), ["offset", "accumulate"]);
}

#[test]
fn bad_numbers_are_named_with_what_was_expected() {
    for (flags, flag) in [
        ("--rule rw-sam --batch-size 32", "lambda"),
        ("--rule rw-sam --micro-batch 16", "lambda"),
        ("--delta 0", "--delta"),
        ("--delta NaN", "--delta"),
        ("--micro-batch 0", "--micro-batch"),
        ("--micro-batch 129", "--micro-batch"),
        ("--subset 0", "--subset"),
        ("--label-noise 1.5", "--label-noise"),
        ("--epochs 0", "--epochs"),
        ("--evaluate-every 0", "--evaluate-every"),
        ("--lr inf", "--lr"),
        ("--label-smoothing 1", "--label-smoothing"),
        ("--accumulate 0", "--accumulate"),
        ("--optimizer adamw --nesterov", "--nesterov"),
        ("--rule sgd --rho-schedule cosine", "--rule sgd"),
        ("--rule sampa --rho-schedule cosine", "--rho-schedule"),
        ("--rule sampa --combine gsam", "--combine"),
        ("--rule msam --combine gsam", "--combine"),
        ("--rule vasso --ascent-steps 2", "--ascent-steps"),
        ("--rule rw-sam --ascent-steps 2", "--ascent-steps"),
        ("--rule msam --decay-in-ascent", "--decay-in-ascent"),
        ("--decay-in-ascent --weight-decay 0", "--decay-in-ascent"),
        ("--rule r-sam --perturb role:norm", "--perturb"),
        ("--clip 0", "--clip"),
        ("--shuffle-weights", "--shuffle-weights"),
        ("--rule rw-sam --estimator random --shuffle-weights", "--shuffle-weights"),
        ("--estimator random", "--estimator"),
        ("--noise-estimator random", "--noise-estimator"),
        ("--every 0", "--every"),
        ("--from 0.5 --until 0.5", "--until"),
    ] {
        let message = parse(flags).validate().unwrap_err().to_string();
        assert!(message.contains(flag) && message.contains("expected"), "{flags}: {message}");
    }
    // What the catalogue rules out is refused where the command line is read.
    for (flags, parts) in [
        ("--rho -1", ["--rho is -1", "above 0"]),
        ("--rho 0", ["--rho is 0", "above 0"]),
        ("--rho NaN", ["--rho is NaN", "above 0"]),
        ("--rule sam:rho=-1", ["rho of sam is -1", "at least 0"]),
        ("--rule rw-sam:lambda=-1,temperature=raw", ["lambda", "at least 0"]),
        ("--rule rw-sam:lambda=0.5", ["lambda", "at least 1"]),
        ("--rule sam:theta=0.5", ["theta", "expected rho"]),
        ("--rule vasso:theta=0", ["theta", "above 0"]),
        ("--rule wsam:gamma=1", ["gamma", "expected"]),
        ("--rule esam:gamma=0", ["gamma", "above 0"]),
        ("--rule look-sam:k=2.5", ["k of look-sam", "whole"]),
        ("--rule gsam:alpha=-1", ["alpha", "at least 0"]),
        ("--rule sgd --rho 0.2", ["rho", "expected none"]),
        ("--rule rwp --rho 0.2", ["rho", "expected sigma"]),
        ("--rule sam:rho=0.2 --rho 0.1", ["--rho", "once"]),
        ("--rule sam:rho=0.1 --rho 0.2", ["--rho is 0.2", "the rho 0.1 too; expected it once"]),
        ("--rule m-sam:rho=0.1 --rho 0.1", ["--rho", "once"]),
        ("--rule esma", ["esma", "esam, "]),
        ("--combine gsma", ["gsma", "gsam, "]),
        ("--rule m-sam:m=4 --micro-batch 8", ["--micro-batch", "m-sam"]),
        ("--rule sam-on --perturb fc.*", ["--perturb", "sam-on"]),
    ] {
        let message = format!("{:#}", try_parse(flags).unwrap_err());
        assert!(parts.iter().all(|part| message.contains(part)), "{flags}: {message}");
    }
    assert!(parse("--precision bf16").validate().unwrap_err().to_string().contains("--device cuda"));
}

#[test]
fn changes_are_part_of_the_record() {
    let flags = "--rule rw-sam --offset adaptive --combine gsam:alpha=0.2 --perturb !role:bias --rho-groups \
                 fc.*=2,*=1 --rho-schedule by-lr --every 2 --decay-in-ascent";
    let config = parse(flags);
    config.validate().unwrap();
    assert_eq!(serde_json::from_str::<RunConfig>(&config.json()).unwrap(), config);
    let label = config.rule_label();
    for part in
        ["RW-SAM (m_eff = 32, ", "offset adaptive", "gsam:alpha=0.2", "!role:bias", "fc.*=2,*=1", "by-lr:0", "decay"]
    {
        assert!(label.contains(part), "{label} without {part}");
    }
    // What is at its default is in no record.
    assert!(["offset", "accumulate", "optimizer"].iter().all(|flag| !parse("").json().contains(flag)));
    for wrong in ["--perturb role:x", "--rho-groups fc=", "--rho-schedule sine", "--rho-schedule warm-up"] {
        let line = ["x"].into_iter().chain(wrong.split_whitespace());
        let message = Line::try_parse_from(line).map(drop).unwrap_err().to_string();
        assert!(message.contains("expected"), "{message}");
    }
}

/// Rows from before there was a choice are rows of the CPU, and keep their names.
#[test]
fn the_device_is_part_of_a_configuration() {
    let (cpu, gpu) = (parse(""), parse("--device cuda"));
    assert!(!cpu.json().contains("device") && !cpu.json().contains("precision"));
    assert_eq!(gpu.machine.precision, PrecisionName::Bf16);
    assert_eq!(parse("--device cuda --precision tf32").machine.precision, PrecisionName::Tf32);
    assert_ne!(cpu.id(), gpu.id());
    gpu.validate().unwrap();
}
