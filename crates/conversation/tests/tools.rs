//! Tools, servers, variables and limits of an agent file: what is understood, and what is refused where.

use conversation::{Agent, AgentError, HttpMethod, McpTransport, ToolClass, ToolKind};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

const HEAD: &str = "[agent]\nname = \"a\"\ngreeting = \"Hello {customer}.\"\npersona = \"Be brief.\"\n\n[variables]\ncustomer = \"there\"\n\n";

fn parse(rest: &str) -> Result<Agent, AgentError> {
    Agent::parse(&format!("{HEAD}{rest}"), &BTreeMap::new())
}

fn refused(rest: &str) -> AgentError {
    parse(rest).expect_err(rest)
}

const TOOL: &str = "[[tool]]\nname = \"t\"\ndescription = \"d\"\n";

#[test]
fn a_request_is_read_with_its_schema_and_its_limits() {
    let agent = parse(
        r#"
[limits]
tool_steps = 3
max_duration_minutes = 10

[[tool]]
name = "orders"
description = "The orders of a day."
kind = "http"
method = "PATCH"
url = "https://api.example.com:8443/v1/{day}/orders?by={customer}"
headers = { Authorization = "Bearer env:KEY" }
timeout_ms = 2_500
retries = 2
max_bytes = 4096
[tool.parameters]
required = ["day"]
[tool.parameters.properties]
day = { type = "string", description = "a day" }
count = { type = "integer", minimum = 1 }

[[mcp]]
name = "crm"
url = "https://mcp.example/mcp"
tools = ["find"]
reads = ["find"]

[[mcp]]
name = "local"
command = ["server", "--stdio"]
"#,
    )
    .expect("it is right");
    let tool = agent.tool("orders").expect("it is there");
    assert_eq!((tool.class, tool.timeout), (ToolClass::Write, Some(Duration::from_millis(2_500))));
    let ToolKind::Http(http) = &tool.kind else { panic!("a request") };
    assert_eq!((http.method, http.retries, http.max_bytes), (HttpMethod::Patch, 2, 4_096));
    assert_eq!(http.url.names().collect::<Vec<_>>(), ["day", "customer"]);
    assert_eq!(tool.spec.parameters["required"], json!(["day"]));
    assert_eq!(tool.spec.parameters["additionalProperties"], false);
    assert_eq!((agent.limits().tool_steps, agent.limits().max_duration), (3, Some(Duration::from_secs(600))));
    assert_eq!(agent.greeting(agent.variables()), "Hello there.");
    assert!(matches!(agent.mcp()[0].transport, McpTransport::Http { .. }));
    assert!(matches!(&agent.mcp()[1].transport, McpTransport::Stdio { command } if command.len() == 2));
}

#[test]
fn built_in_tools_bring_their_arguments() {
    let agent = parse(
        "[[tool]]\nname = \"pass_on\"\ndescription = \"d\"\nkind = \"transfer\"\n\
         destinations = { sales = \"sip:s@x.example\", night = \"tel:+4930\" }\n\
         [[tool]]\nname = \"hold\"\ndescription = \"d\"\nkind = \"wait\"\n\
         [[tool]]\nname = \"keys\"\ndescription = \"d\"\nkind = \"collect_dtmf\"\nsecret = \"pin\"\n\
         [[tool]]\nname = \"jot\"\ndescription = \"d\"\nkind = \"record_note\"\n",
    )
    .expect("they are right");
    let transfer = agent.tool("pass_on").expect("it is there");
    assert_eq!(transfer.class, ToolClass::Irreversible);
    assert_eq!(transfer.spec.parameters["properties"]["destination"]["enum"], json!(["night", "sales"]));
    assert!(agent.tools().iter().all(|tool| tool.spec.parameters["type"] == "object"));
    let keys = agent.tool("keys").expect("it is there");
    assert!(matches!(&keys.kind, ToolKind::CollectDigits { secret: Some(name) } if name == "pin"));
}

#[test]
fn every_mistake_is_found_at_its_line_with_something_better() {
    let http = format!("{TOOL}kind = \"http\"\n");
    let cases = [
        (format!("{TOOL}kind = \"htp\"\n"), "unknown variant `htp`", "http"),
        (format!("{http}url = \"https://x.example/{{custmer}}\"\n"), "no variable `{custmer}`", "`customer`"),
        (
            format!("{http}url = \"https://{{customer}}.example/\"\n"),
            "host is not fixed",
            "https://HOST/PATH",
        ),
        (format!("{http}url = \"https://me:pw@x.example/\"\n"), "login", "https://HOST/PATH"),
        (format!("{http}url = \"file:///etc/passwd\"\n"), "not an HTTP URL", "https://"),
        (http.clone(), "has no `url`", "url = "),
        (
            format!("{TOOL}kind = \"collect_dtmf\"\nsecret = \"the pin\"\n"),
            "`the pin` cannot stand for keys",
            "secret = \"pin\"",
        ),
        (format!("{TOOL}kind = \"wait\"\nsecret = \"pin\"\n"), "`secret` means nothing", "`collect_dtmf`"),
        (
            format!("{http}url = \"https://x.example/\"\nsql = \"SELECT 1\"\n"),
            "`sql` means nothing",
            "`sqlite`",
        ),
        (
            format!("{http}url = \"https://x.example/\"\nmethod = \"FETCH\"\n"),
            "unknown variant `FETCH`",
            "PATCH",
        ),
        (format!("{http}url = \"https://x.example/\"\nretries = 50\n"), "out of range", "0 to 5"),
        (
            format!("{http}url = \"https://x.example/\"\nclass = \"irreversible\"\nretries = 1\n"),
            "not tried again",
            "retries",
        ),
        (
            format!("{http}url = \"https://x.example/\"\nheaders = {{ \"X Y\" = \"1\" }}\n"),
            "not a header",
            "X-Name",
        ),
        (
            format!("{http}url = \"https://x.example/\"\nheaders = {{ X = \"{{nme}}\" }}\n"),
            "no variable `{nme}`",
            "",
        ),
        (
            format!(
                "{http}url = \"https://x.example/\"\nparameters = {{ properties = {{ a = {{ type = \"strng\" }} }} }}\n"
            ),
            "of type `strng`",
            "parameters",
        ),
        (
            format!(
                "{http}url = \"https://x.example/\"\nparameters = {{ properties = {{ a = {{}} }}, required = [\"b\"] }}\n"
            ),
            "`required` names `b`",
            "parameters",
        ),
        (
            format!(
                "{http}url = \"https://x.example/\"\nparameters = {{ properties = {{ caller = {{}} }} }}\n"
            ),
            "knows by itself",
            "another name",
        ),
        (format!("{TOOL}kind = \"transfer\"\n"), "leads nowhere", "destinations"),
        (
            format!("{TOOL}kind = \"transfer\"\ndestinations = {{ a = \"mailto:x\" }}\n"),
            "cannot be called",
            "sip:",
        ),
        (
            "[[tool]]\nname = \"no blanks\"\ndescription = \"d\"\nkind = \"wait\"\n".into(),
            "no model can call",
            "64",
        ),
        ("[[mcp]]\nname = \"x\"\n".into(), "one way to reach it", "command"),
        (
            "[[mcp]]\nname = \"x\"\nurl = \"https://x.example/\"\ntools = [\"find\"]\nreads = [\"fnd\"]\n"
                .into(),
            "no tool `fnd`",
            "`find`",
        ),
        ("[limits]\ntool_steps = 0\n".into(), "out of range", "1 to 20"),
        ("[limits]\ntool_stps = 1\n".into(), "unknown field `tool_stps`", "`tool_steps`"),
    ];
    for (text, message, help) in cases {
        let error = refused(&text);
        assert!(error.message.contains(message), "{error}\n{text}");
        assert!(error.help.contains(help), "{error}\n{text}");
        assert!(error.line > 8, "{error}\n{text}");
    }
}

#[test]
fn variables_have_names_of_their_own() {
    for (text, message) in [
        (
            "[agent]\nname = \"a\"\ngreeting = \"Hi {nme}\"\n[variables]\nname = \"x\"\n",
            "no variable `{nme}`",
        ),
        ("[agent]\nname = \"a\"\ngreeting = \"Hi\"\n[variables]\ncaller = \"x\"\n", "every call has"),
        ("[agent]\nname = \"a\"\ngreeting = \"Hi\"\n[variables]\n\"no good\" = \"x\"\n", "cannot name"),
        (
            "[agent]\nname = \"a\"\ngreeting = \"Hi\"\n[variables]\nday = \"x\"\n[[slot]]\nname = \"day\"\nkind = \"date\"\nask = \"?\"\n",
            "is a slot",
        ),
    ] {
        let error = Agent::parse(text, &BTreeMap::new()).expect_err(text);
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn the_agents_in_the_manual_are_agents() {
    let manual = include_str!("../../../agents/README.md");
    let blocks: Vec<&str> =
        manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        Agent::parse(block, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error} in\n{block}"));
    }
}
