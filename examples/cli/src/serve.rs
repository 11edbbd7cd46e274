//! `lichen serve --web`: the browser app for this machine alone.
//!
//! Static files below one folder, on the loopback address only. Files are revalidated by their ETag, so that a new
//! build is seen at once; only models, whose names hold their hash, are kept without asking.

use crate::failure::{Done, Failure, plain};
use crate::output::note;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use clap::Args;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Serve the browser app
    #[arg(long, required = true)]
    web: bool,
    /// Folder that web/build.sh made
    #[arg(long, value_name = "FOLDER", default_value = "web/dist")]
    dir: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8017)]
    port: u16,
}

/// On every answer. The page may ask nobody but this server for anything, and runs nothing that is not a file here;
/// isolated from other origins it may share memory between its threads.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; \
         media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "microphone=(self), camera=(self), geolocation=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

struct Site {
    folder: PathBuf,
    /// What a browser may call this server: other names would be pages of strangers that resolve to this machine.
    hosts: [String; 3],
}

pub(crate) fn serve(args: &ServeArgs) -> Done {
    if !args.dir.join("index.html").is_file() {
        return Err(Failure::Failed(format!("{} holds no page; build it with: bash web/build.sh", args.dir.display())));
    }
    let failed = |e: io::Error| Failure::Failed(format!("cannot serve: {}", plain(&e)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(run(args))
}

async fn run(args: &ServeArgs) -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Failure::Failed(format!(
            "port {} is taken, maybe by another `lichen serve`; name another one with --port, or 0 for any",
            args.port
        )),
        _ => Failure::Failed(format!("cannot listen on port {}: {}", args.port, plain(&e))),
    })?;
    let failed = |e: io::Error| Failure::Failed(format!("cannot serve: {}", plain(&e)));
    let address = listener.local_addr().map_err(failed)?;
    note(&format!("Lichen is at http://{address}/ for this machine alone; Ctrl-C ends it"));
    let router = router(args.dir.clone(), address);
    tokio::select! {
        ended = axum::serve(listener, router) => ended.map_err(failed),
        // What is under way is cut: a browser asks again.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn router(folder: PathBuf, address: SocketAddr) -> Router {
    let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{}", address.port()));
    let files = ServeDir::new(&folder);
    let site = Arc::new(Site { folder, hosts });
    Router::new().fallback_service(files).layer(middleware::from_fn_with_state(site, around))
}

/// What every request and every answer goes through.
async fn around(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| site.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))) {
        return dressed(
            (StatusCode::FORBIDDEN, "this server is for this machine alone\n").into_response(),
            None,
            false,
        );
    }
    let path = request.uri().path().to_string();
    let tag = tag(&site.folder, &path).await;
    let named = path.starts_with("/model/");
    if let Some(tag) = &tag {
        if fresh(request.headers(), tag) {
            return dressed(StatusCode::NOT_MODIFIED.into_response(), Some(tag), named);
        }
        let headers = request.headers_mut();
        // A tag that differs outweighs a date that does not.
        if headers.contains_key(header::IF_NONE_MATCH) {
            headers.remove(header::IF_MODIFIED_SINCE);
        }
        // A part of another version would be glued to the wrong beginning.
        if headers.remove(header::IF_RANGE).is_some_and(|known| known != *tag) {
            headers.remove(header::RANGE);
        }
    }
    let response = next.run(request).await;
    let tag = tag.filter(|_| response.status().is_success());
    let named = named && response.status().is_success();
    dressed(response, tag.as_ref(), named)
}

/// With the headers that every answer has. What is named by its hash never changes.
fn dressed(mut response: Response, tag: Option<&HeaderValue>, named: bool) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let cache = if named { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag.clone());
    }
    response
}

/// Whether the browser has this version.
fn fresh(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let Some(known) = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()) else { return false };
    known.split(',').any(|one| one.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes() || one.trim() == "*")
}

/// The version of the file behind a path, if there is one: its length and when it was written.
async fn tag(folder: &Path, path: &str) -> Option<HeaderValue> {
    let inside = Path::new(path.trim_start_matches('/'));
    if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let file = folder.join(inside);
    let file = if path.ends_with('/') { file.join("index.html") } else { file };
    let metadata = tokio::fs::metadata(file).await.ok().filter(std::fs::Metadata::is_file)?;
    let written = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    HeaderValue::from_str(&format!("\"{:x}-{written:x}\"", metadata.len())).ok()
}
