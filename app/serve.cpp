// troupe serve MODEL: a one-node cluster without a config file.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include <unistd.h>

#include "actors/node_process.h"
#include "actors/state_dir.h"
#include "app/commands.h"
#include "app/suggest.h"
#include "net/listener.h"

namespace troupe {

namespace {

struct ServeFlags {
  std::string model, name, backend = "auto", host = "127.0.0.1", state, api_keys, tls_cert, tls_key,
                           redis, kv_memory, isa = "auto", kv_dtype = "f16", oracle_step;
  std::string log = "text";
  uint16_t port = 8080;
  int32_t groups = 1, tensor_parallel = 1, pipeline_parallel = 1, threads = 0, context = 0,
          max_batch_tokens = 0;
  double timing_scale = 1;
  bool insecure_http = false;
  std::vector<std::string> allowed_hosts;
};

/// The config file a user would have written, so that both ways share every check.
std::string config_text(const ServeFlags& f, uint16_t port) {
  std::string name = f.name;
  if (name.empty())
    name = f.model.empty() ? "oracle" : std::filesystem::path(f.model).stem().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') c = '-';
  auto quoted = [](const std::string& s) {
    std::string out = "'";
    for (char c : s) out += c == '\'' ? "''" : std::string(1, c);
    return out + "'";
  };
  const std::string host = f.host.find(':') == std::string::npos ? f.host : "[" + f.host + "]";
  std::string out =
      fmt::format("cluster: serve-{}\nnodes: [{{name: n1, host: 127.0.0.1, devices: [", port);
  const int32_t ranks = f.groups * f.tensor_parallel * f.pipeline_parallel;
  for (int32_t i = 0; i < ranks; ++i) out += fmt::format("{}cpu:{}", i ? ", " : "", i);
  out +=
      fmt::format("], seed: true}}]\nrouters:\n  - node: n1\n    http: {}\n    insecure_http: {}\n",
                  quoted(fmt::format("{}:{}", host, port)), f.insecure_http);
  if (!f.tls_cert.empty() || !f.tls_key.empty())
    out += fmt::format("    tls: {{cert: {}, key: {}}}\n", quoted(f.tls_cert), quoted(f.tls_key));
  for (size_t i = 0; i < f.allowed_hosts.size(); ++i)
    out +=
        (i ? "" : "    allowed_hosts:\n") + fmt::format("      - {}\n", quoted(f.allowed_hosts[i]));
  out += fmt::format(
      "models:\n  - name: {}\n    backend: {}\n    groups: {}\n    tensor_parallel: {}\n"
      "    pipeline_parallel: {}\n",
      quoted(name), quoted(f.backend), f.groups, f.tensor_parallel, f.pipeline_parallel);
  if (!f.model.empty()) out += fmt::format("    source: {}\n", quoted(f.model));
  if (f.threads) out += fmt::format("    threads: {}\n", f.threads);
  if (f.context) out += fmt::format("    ctx: {}\n", f.context);
  if (f.max_batch_tokens) out += fmt::format("    max_batch_tokens: {}\n", f.max_batch_tokens);
  if (!f.kv_memory.empty()) out += fmt::format("    kv_memory: {}\n", f.kv_memory);
  out += fmt::format("    isa: {}\n    kv_dtype: {}\n", quoted(f.isa), quoted(f.kv_dtype));
  if (!f.oracle_step.empty()) out += fmt::format("    oracle_step: {}\n", f.oracle_step);
  if (!f.redis.empty()) out += fmt::format("cache: {{redis: {}}}\n", quoted(f.redis));
  if (!f.api_keys.empty())
    out += fmt::format("security: {{api_keys_file: {}}}\n", quoted(f.api_keys));
  out += fmt::format("limits: {{timing_scale: {}}}\n", f.timing_scale);
  return out;
}

std::string flag_of(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

/// Users of flags have no file: "serve:9: models[0].kv_memory: expected ..." becomes
/// "--kv-memory: expected ...".
Error in_words_of_flags(Error error) {
  const std::string key = error.param.substr(error.param.rfind('.') + 1);
  const size_t at = error.message.find(error.param + ": ");
  if (key.empty() || !error.param.starts_with("models[") || at == std::string::npos) return error;
  const std::string expected = error.message.substr(at + error.param.size() + 2);
  if (key == error.param) {  // the flags do not fit each other
    error.message = expected;
    return error;
  }
  error.message = fmt::format("{}: {}", flag_of(key), expected);
  return error;
}

/// Nor have they keys: "model m: kv_memory asks for ..." becomes "model m: --kv-memory asks for
/// ...".
Error load_failure_in_flags(Error error) {
  std::string& text = error.message;
  for (const std::string key : {"kv_memory", "ctx", "tensor_parallel", "pipeline_parallel"})
    for (size_t at = text.find(' ' + key, text.find(": ")); at != std::string::npos;
         at = text.find(' ' + key, at + 1)) {
      const size_t end = at + 1 + key.size();
      if (end == text.size() || text[end] == ' ') text.replace(at + 1, key.size(), flag_of(key));
    }
  return error;
}

Result<int> serve(ServeFlags f) {
  if (f.model.empty() && f.backend != "oracle")
    return fail(ErrorCode::invalid_argument,
                "a model is needed: a GGUF file or a model directory, as troupe serve model.gguf");
  if (!f.model.empty() && !std::filesystem::exists(f.model))
    return fail(ErrorCode::not_found,
                fmt::format("{} does not exist; give a GGUF file or a model directory", f.model));
  // A free port is settled first, because the instance is named after it.
  if (f.port == 0) {
    auto listener = listen_tcp({f.host, 0});
    if (!listener) return std::unexpected(listener.error());
    f.port = listener->address.port;
    ::close(listener->fd);
  }
  std::error_code ignored;
  auto config = parse_cluster_config(config_text(f, f.port), "serve",
                                     std::filesystem::current_path(ignored).string());
  if (!config) return std::unexpected(in_words_of_flags(config.error()));
  NodeOptions options;
  options.config = std::move(*config);
  options.node = "n1";
  options.state_dir =
      (f.state.empty() ? default_state_dir(fmt::format("serve-{}", f.port)) : f.state) + "/n1";
  options.log = f.log == "json" ? LogFormat::json : LogFormat::text;
  options.on_load_failure = OnLoadFailure::give_up;
  options.reword = &load_failure_in_flags;
  if (auto ran = run_node(std::move(options)); !ran) return std::unexpected(ran.error());
  return 0;
}

}  // namespace

void add_serve(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* c = app.add_subcommand("serve", "Serve one model on this machine");
  c->add_option("model", flags->model, "GGUF file or Hugging Face model directory");
  c->add_option("--name", flags->name, "Name in the API (default: the file's stem)");
  c->add_option("--port", flags->port, "HTTP port; 0 takes a free one")->capture_default_str();
  c->add_option("--host", flags->host, "HTTP address")->capture_default_str();
  c->add_option("--backend", flags->backend, "auto, native, torch or oracle (no model; for tests)")
      ->capture_default_str()
      ->check(one_of({"auto", "native", "torch", "oracle"}));
  c->add_option("--threads", flags->threads, "Threads of a rank (default: cores / ranks)")
      ->check(CLI::Range(1, 1024));
  c->add_option("--ctx", flags->context, "Positions a sequence may reach (default: the model's)");
  c->add_option("--kv-memory", flags->kv_memory,
                "KV cache of a rank, as 512MiB (default: automatic)");
  c->add_option("--max-batch-tokens", flags->max_batch_tokens,
                "Rows in one step (default: automatic)");
  c->add_option("--isa", flags->isa,
                "Native backend: auto, scalar, avx2, avx512 or amx (auto: the best of this CPU)")
      ->capture_default_str()
      ->check(one_of({"auto", "scalar", "avx2", "avx512", "amx"}));
  c->add_option("--kv-dtype", flags->kv_dtype,
                "Native backend: f16, or int8 for half the KV memory")
      ->capture_default_str()
      ->check(one_of({"f16", "int8"}));
  c->add_option("--groups", flags->groups, "Copies of the model")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  c->add_option("--tensor-parallel", flags->tensor_parallel,
                "Processes that share each layer of a copy (not torch)")
      ->capture_default_str()
      ->check(CLI::Range(1, kCollectiveRanksMax));
  c->add_option("--pipeline-parallel", flags->pipeline_parallel,
                "Stages of a copy, each some of the layers (not torch)")
      ->capture_default_str()
      ->check(CLI::Range(1, kCollectiveRanksMax));
  c->add_option("--redis", flags->redis,
                "Second tier of the response cache, as redis://127.0.0.1:6379");
  c->add_option("--api-keys", flags->api_keys,
                "File of name:role:sha256hex lines; without it no key is asked");
  c->add_option("--tls-cert", flags->tls_cert, "PEM certificate chain for HTTPS");
  c->add_option("--tls-key", flags->tls_key, "PEM key for HTTPS");
  c->add_flag("--insecure-http", flags->insecure_http,
              "Allow a bind beyond loopback without TLS and keys");
  c->add_option("--allowed-host", flags->allowed_hosts,
                "Name that clients and pages may know it by, as chat.example; may be repeated")
      ->check([](const std::string& given) {
        return parse_host(given) ? ""
                                 : "expected a host name or HOST:PORT, as chat.example; no scheme, "
                                   "path or wildcard";
      });
  c->add_option("--state", flags->state, "State directory (default: under $XDG_STATE_HOME/troupe)");
  c->add_option("--log", flags->log, "text or json")
      ->capture_default_str()
      ->check(one_of({"text", "json"}));
  c->add_option("--timing-scale", flags->timing_scale,
                "Stretches detection and deadlines on slow machines")
      ->capture_default_str();
  c->add_option("--oracle-step", flags->oracle_step,
                "Oracle backend: how long a step takes, as 5ms");
  c->footer(
      "Examples:\n  troupe serve SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2\n  troupe serve "
      "model.gguf --port 0 --threads 2 --ctx 4096\n"
      "Prints `ready http://HOST:PORT` once it can answer. Ctrl-C drains and ends it; a second one "
      "ends it at once.");
  c->callback([flags, &chosen] { chosen = [flags] { return serve(*flags); }; });
}

}  // namespace troupe
