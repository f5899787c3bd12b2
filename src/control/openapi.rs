//! The schemas in `docs/openapi.yaml` are those of the types that the API answers with, and the commands in it and in
//! `docs/api.md` are those that there are.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::differences::Differences;
use super::response::Problem;
use super::view::{Fleet, Health, Journal, Page};
use crate::rollout::command::VERBS;
use crate::rollout::recording::Line;

#[test]
fn the_schemas_in_the_documents_are_those_of_the_answers() {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    fn add<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) {
        generator.subschema_for::<T>();
    }
    add::<Health>(&mut generator);
    add::<Page>(&mut generator);
    add::<Journal>(&mut generator);
    add::<Differences>(&mut generator);
    add::<Fleet>(&mut generator);
    add::<Line>(&mut generator);
    add::<Problem>(&mut generator);
    let wanted = Value::Object(generator.take_definitions(true));
    let text = include_str!("../../docs/openapi.yaml");
    let document: Value = serde_saphyr::from_str(text).unwrap();
    assert!(
        document["components"]["schemas"] == wanted,
        "the schemas in docs/openapi.yaml are old; as JSON, which is YAML, they are now:\n{wanted:#}"
    );
}

#[test]
fn the_document_has_a_path_for_each_command_and_no_other() {
    let document: Value = serde_saphyr::from_str(include_str!("../../docs/openapi.yaml")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for verb in &VERBS {
        let post = &paths[&format!("/v1/rollouts/{{name}}/{}", verb.name)]["post"];
        assert_eq!(
            (post["operationId"].as_str(), post["summary"].as_str()),
            (Some(verb.name), Some(verb.summary))
        );
    }
    assert_eq!(paths.values().filter(|path| path.get("post").is_some()).count(), VERBS.len());
}

#[test]
fn the_table_of_calls_has_a_row_for_each_command_and_no_other() {
    let names: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
    let of_a_row =
        |line: &'static str| Some(line.strip_prefix("| `POST /v1/rollouts/NAME/")?.split_once('`')?.0);
    let rows: Vec<&str> = include_str!("../../docs/api.md").lines().filter_map(of_a_row).collect();
    assert_eq!(rows, names);
}
