//! A server and a client on rmcp, the official SDK for Rust.
//!
//! ```text
//! interop-rmcp serve [http]                              over stdio; over HTTP it prints its URL first
//! interop-rmcp mirror ERA SERVER URL                     what a client sees at a URL
//! interop-rmcp mirror ERA SERVER COMMAND [ARGUMENT...]   and over the pipes of a command
//! ```

mod mirror;
mod server;

use std::error::Error;
use std::sync::Arc;

use rmcp::ServiceExt;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

async fn serve_http() -> Result<(), Box<dyn Error>> {
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(
        || Ok(server::Small::new()),
        sessions,
        StreamableHttpServerConfig::default(),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}

async fn serve_stdio() -> Result<(), Box<dyn Error>> {
    let running = server::Small::new().serve(rmcp::transport::stdio()).await?;
    running.waiting().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<&str>>().as_slice() {
        ["serve", "http", ..] => serve_http().await,
        ["serve", ..] => serve_stdio().await,
        ["mirror", era, server, target @ ..] if !target.is_empty() => {
            mirror::print(era, server, target).await
        }
        _ => Err("usage: interop-rmcp serve [http] | mirror ERA SERVER URL_OR_COMMAND...".into()),
    }
}
