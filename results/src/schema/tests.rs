use super::*;
use crate::sample::Sample;

/// The file beside the crate. `BLESS=1` writes it anew.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/run.schema.json");

#[test]
fn the_schema_file_is_generated_from_the_types() {
    let want = crate::store::to_json(&json_schema());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(FILE, &want).unwrap();
    }
    let have = std::fs::read_to_string(FILE).unwrap();
    assert!(
        have == want,
        "results/run.schema.json is stale: BLESS=1 cargo nextest run --no-fail-fast -p mm-stress-results schema"
    );
}

fn validator() -> jsonschema::Validator {
    let text = std::fs::read_to_string(FILE).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn samples() -> Vec<Run> {
    let full = Sample { premature_rounds: 2, ..Sample::default() }.run();
    vec![full, Run { schema: VERSION, ..Run::default() }]
}

#[test]
fn records_validate_against_the_schema_file() {
    let validator = validator();
    for run in samples() {
        let json = serde_json::to_value(&run).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert_eq!(errors, [] as [String; 0]);
        let set = RunSet { schema: VERSION, runs: vec![run], comparison: None };
        assert!(validator.is_valid(&serde_json::to_value(&set).unwrap()));
    }
}

#[test]
fn every_key_is_required_at_every_depth() {
    let validator = validator();
    let whole = serde_json::to_value(&samples()[0]).unwrap();
    let mut paths = Vec::new();
    keys(&whole, &mut String::new(), &mut paths);
    assert!(paths.len() > 150, "{}", paths.len());
    for path in paths {
        let mut damaged = whole.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        damaged.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        assert!(!validator.is_valid(&damaged), "{path} may be absent");
    }
}

/// Pointers to all keys, but not those of maps, where keys are data.
fn keys(value: &serde_json::Value, at: &mut String, found: &mut Vec<String>) {
    const MAPS: [&str; 8] =
        ["ops", "options", "axes", "vmstat", "figures", "windows", "by_class", "evidence"];
    let len = at.len();
    match value {
        serde_json::Value::Object(object) => {
            let is_map = MAPS.contains(&at.rsplit('/').next().unwrap());
            for (key, value) in object {
                at.push_str(&format!("/{key}"));
                if !is_map && !found.contains(at) {
                    found.push(at.clone());
                }
                keys(value, at, found);
                at.truncate(len);
            }
        }
        serde_json::Value::Array(array) => {
            // One element stands for all.
            if let Some(first) = array.first() {
                at.push_str("/0");
                keys(first, at, found);
                at.truncate(len);
            }
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn records_survive_json() {
    for run in samples() {
        let text = crate::store::to_json(&run);
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
    }
}

/// The reference part of SCHEMA.md: one table for each type, in the words of its doc comments.
fn reference() -> String {
    let schema = json_schema();
    let mut text = String::new();
    let definitions = schema["$defs"].as_object().unwrap();
    // The record first, what it is made of behind it.
    let first = ["Run", "Round", "Op", "LatencyNs"];
    let others = definitions.keys().map(String::as_str).filter(|name| !first.contains(name));
    for name in first.into_iter().chain(others) {
        let definition = &definitions[name];
        let about = one_line(&definition["description"]);
        text.push_str(&format!("\n### {name}\n{about}\n\n"));
        if let Some(properties) = definition["properties"].as_object() {
            text.push_str("| key | type | meaning |\n|---|---|---|\n");
            for (key, property) in properties {
                let meaning = one_line(&property["description"]);
                text.push_str(&format!("| `{key}` | {} | {meaning} |\n", type_name(property)));
            }
        } else {
            for case in definition["oneOf"].as_array().unwrap() {
                text.push_str(&format!(
                    "- `{}`: {}\n",
                    case["const"].as_str().unwrap(),
                    one_line(&case["description"])
                ));
            }
        }
    }
    text
}

fn one_line(text: &serde_json::Value) -> String {
    text.as_str().unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn type_name(property: &serde_json::Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(cases) = property["anyOf"].as_array() {
        return cases.iter().map(type_name).collect::<Vec<_>>().join(" or ");
    }
    let words = match &property["type"] {
        serde_json::Value::Array(words) => {
            words.iter().map(|w| w.as_str().unwrap()).collect::<Vec<_>>().join(" or ")
        }
        word @ (serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Object(_)) => word.as_str().unwrap().to_owned(),
    };
    if words == "array" {
        format!("{}[]", type_name(&property["items"]))
    } else if property["additionalProperties"].is_object() {
        format!("map of {}", type_name(&property["additionalProperties"]))
    } else {
        words
    }
}

#[test]
fn the_reference_in_the_contract_is_generated_from_the_types() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/SCHEMA.md");
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (head, mark) = (
        page.split("<!-- generated").next().unwrap(),
        page.lines().find(|l| l.starts_with("<!-- generated")).unwrap(),
    );
    let want = format!("{head}{mark}\n{}", reference());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, &want).unwrap();
    }
    assert!(
        page == want || std::env::var_os("BLESS").is_some(),
        "results/SCHEMA.md is stale: BLESS=1 cargo nextest run --no-fail-fast -p mm-stress-results schema"
    );
}

#[test]
fn histograms_in_a_record_are_read_by_hdrhistograms_own_deserializer() {
    use base64::Engine as _;
    let run = &samples()[0];
    let op = &run.ops["fault"];
    let bytes = base64::engine::general_purpose::STANDARD.decode(op.hdr.as_ref().unwrap()).unwrap();
    let decoded: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .unwrap();
    let latency = op.latency_ns.unwrap();
    assert_eq!(
        (decoded.len(), decoded.value_at_quantile(0.999), decoded.max()),
        (latency.count, latency.p999, latency.max)
    );
}
