//! A small server: tools, a prompt and resources, in both eras.

use rmcp::handler::server::router::prompt::PromptRouter;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{
    ListResourcesResult, PaginatedRequestParams, ProgressNotificationParam, PromptMessage,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, RequestMetaObject, Resource,
    ResourceContents, Role, ServerCapabilities, ServerConfig,
};
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler, prompt, prompt_handler, prompt_router, tool, tool_handler,
    tool_router,
};
use serde::{Deserialize, Serialize};

const NOTE: &str = "note://small/one";

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Text {
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Steps {
    steps: u32,
}

#[derive(Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Length {
    bytes: usize,
    characters: usize,
}

/// The server; each session has one of its own.
#[derive(Clone)]
pub struct Small {
    tool_router: ToolRouter<Self>,
    prompt_router: PromptRouter<Self>,
}

#[tool_router]
impl Small {
    pub fn new() -> Small {
        Small { tool_router: Self::tool_router(), prompt_router: Self::prompt_router() }
    }

    #[tool(description = "Says the text again", annotations(read_only_hint = true))]
    async fn echo(&self, Parameters(Text { text }): Parameters<Text>) -> String {
        text
    }

    #[tool(description = "Measures a text")]
    async fn length(&self, Parameters(Text { text }): Parameters<Text>) -> Json<Length> {
        Json(Length { bytes: text.len(), characters: text.chars().count() })
    }

    #[tool(description = "Tells its progress")]
    async fn count(
        &self,
        Parameters(Steps { steps }): Parameters<Steps>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        for step in 1..=steps {
            if let Some(token) = meta.get_progress_token() {
                let told =
                    ProgressNotificationParam::new(token, f64::from(step)).with_total(f64::from(steps));
                client
                    .notify_progress(told)
                    .await
                    .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            }
        }
        Ok(format!("{steps} steps"))
    }

    #[tool(description = "Fails")]
    async fn fail(&self) -> Result<String, ErrorData> {
        Err(ErrorData::invalid_params("it fails, as asked", None))
    }
}

#[prompt_router]
impl Small {
    #[prompt(description = "Asks for a summary")]
    async fn summary(&self, Parameters(Text { text }): Parameters<Text>) -> Vec<PromptMessage> {
        vec![PromptMessage::new_text(Role::User, format!("Sum up: {text}"))]
    }
}

#[tool_handler(router = self.tool_router)]
#[prompt_handler(router = self.prompt_router)]
impl ServerHandler for Small {
    fn get_info(&self) -> ServerConfig {
        let can = ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
        ServerConfig::new(can).with_instructions("A small server on rmcp.")
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(NOTE, "one")]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != NOTE {
            return Err(ErrorData::resource_not_found(format!("no resource {}", request.uri), None));
        }
        Ok(ReadResourceResult::new(vec![ResourceContents::text("a note: grüße", NOTE)]).into())
    }
}
