#include "net/bridge.h"

#include <fmt/format.h>
#include <future>

#include <algorithm>
#include <ctime>
#include <future>
#include <optional>
#include <unordered_map>

#include "net/api_keys.h"
#include "net/http_server.h"
#include "net/json_writer.h"
#include "net/metrics.h"
#include "net/open_request.h"
#include "net/openapi.h"
#include "net/prompt.h"
#include "net/random.h"
#include "net/request_headers.h"
#include "net/routes.h"
#include "net/worker.h"

namespace troupe {
namespace {

using Models = std::vector<std::shared_ptr<const ServedModel>>;

/// A request on its way through the bridge.
struct Exchange {
  HttpRequest request;
  std::shared_ptr<HttpReply> reply;
  const Route* route = nullptr;
  std::string request_id;
  Salt tenant{};
  Time arrived;
};

/// What parsing and tokenising gave; made on the io thread or, for big bodies, on the worker.
struct Prepared {
  ClientRequest request;
  std::shared_ptr<const ServedModel> model;
  AnswerInfo answer;
  OpenRequest::Shape shape = OpenRequest::Shape::whole;
  bool has_seed = false;
};
using PreparedOrError = std::expected<Prepared, RequestError>;
using BodyOrError = std::expected<std::string, RequestError>;

std::expected<std::shared_ptr<const ServedModel>, RequestError> choose_model(
    const Models& models, const std::string& name) {
  if (models.empty())
    return std::unexpected(RequestError{
        {ErrorCode::unavailable, "No model is loaded yet: retry soon, /readyz says why.", ""}});
  if (name.empty() && models.size() == 1) return models.front();
  if (name.empty())
    return std::unexpected(RequestError{
        {ErrorCode::invalid_argument, "`model` is missing: see GET /v1/models.", "model"}});
  for (const auto& model : models)
    if (model->name == name) return model;
  return std::unexpected(RequestError{
      {ErrorCode::not_found, "No such model is served here: see GET /v1/models.", "model"},
      "model_not_found"});
}

PreparedOrError prepare_generation(Api api, const Models& models, const std::string& body,
                                   const Salt& tenant) {
  auto parsed = parse_generation(api, body);
  if (!parsed) return std::unexpected(RequestError{parsed.error()});
  auto model = choose_model(models, parsed->model);
  if (!model) return std::unexpected(model.error());
  auto request = prepare(*parsed, **model, tenant);
  if (!request) return std::unexpected(request.error());
  Prepared out{.request = std::move(*request), .model = *model};
  out.has_seed = parsed->has_seed;
  out.shape = parsed->stream ? OpenRequest::Shape::stream : OpenRequest::Shape::whole;
  out.answer.api = api;
  out.answer.model = (*model)->name;
  out.answer.choices = parsed->choices;
  out.answer.logprobs = parsed->logprobs;
  out.answer.include_usage = parsed->include_usage;
  out.answer.echo = parsed->echo;
  out.answer.hide_answer = parsed->max_tokens == 0;
  out.answer.tokenizer = (*model)->tokenizer;
  if (parsed->echo) {
    const auto* text = std::get_if<TextInput>(&parsed->input);
    out.answer.prompt_text = text ? text->text : (*model)->tokenizer->decode(out.request.prompt);
    if (parsed->logprobs) out.answer.prompt = out.request.prompt;
  }
  return out;
}

BodyOrError tokenize(const Models& models, const std::string& body) {
  auto parsed = parse_tokenize(body);
  if (!parsed) return std::unexpected(RequestError{parsed.error()});
  auto model = choose_model(models, parsed->model);
  if (!model) return std::unexpected(model.error());
  std::vector<TokenId> tokens;
  if (const auto* chat = std::get_if<ChatInput>(&parsed->input)) {
    auto rendered = chat_tokens(*chat, **model);
    if (!rendered) return std::unexpected(RequestError{rendered.error()});
    tokens = std::move(*rendered);
  } else {
    tokens = text_tokens(std::get<TextInput>(parsed->input), **model);
  }
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("tokens").begin_array();
  for (TokenId token : tokens) json.integer(token.value);
  json.end_array().field("count", static_cast<int64_t>(tokens.size()));
  json.field("max_model_len", int64_t{(*model)->context}).end_object();
  return out;
}

BodyOrError detokenize(const Models& models, const std::string& body) {
  auto parsed = parse_detokenize(body);
  if (!parsed) return std::unexpected(RequestError{parsed.error()});
  auto model = choose_model(models, parsed->model);
  if (!model) return std::unexpected(model.error());
  const int32_t vocab = (*model)->tokenizer->vocab();
  for (TokenId token : parsed->tokens)
    if (token.value >= vocab)
      return std::unexpected(RequestError{
          {ErrorCode::invalid_argument,
           fmt::format("Token {} is outside the vocabulary of {} tokens.", token.value, vocab),
           "tokens"}});
  std::string out;
  JsonWriter(out)
      .begin_object()
      .field("prompt", (*model)->tokenizer->decode(parsed->tokens))
      .end_object();
  return out;
}

std::string model_json(const ServedModel& model) {
  std::string out;
  JsonWriter(out)
      .begin_object()
      .field("id", model.name)
      .field("object", "model")
      .field("created", model.created)
      .field("owned_by", "troupe")
      .field("max_model_len", int64_t{model.context})
      .end_object();
  return out;
}

std::string models_json(const Models& models) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("object", "list").key("data").begin_array();
  for (const auto& model : models) json.raw(model_json(*model));
  json.end_array().end_object();
  return out;
}

std::string readiness_json(const BridgeState& state) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("ready").boolean(state.ready && !state.draining);
  json.field("reason", state.draining ? std::string_view("The router is draining.")
                                      : std::string_view(state.reason));
  json.key("models").begin_array();
  for (const ModelReadiness& model : state.models) {
    json.begin_object()
        .field("name", model.name)
        .field("groups_ready", int64_t{model.groups_ready});
    json.field("groups", int64_t{model.groups});
    if (!model.reason.empty()) json.field("reason", model.reason);
    json.end_object();
  }
  json.end_array().end_object();
  return out;
}

class BridgeServer final : public Bridge, private HttpHandler {
 public:
  BridgeServer(BridgeConfig config, RequestSink& sink, std::optional<ApiKeys> keys)
      : config_(std::move(config)),
        sink_(sink),
        keys_(std::move(keys)),
        metrics_(config_.build, config_.node) {
    state_.reason = "The router has just started.";
    set_models_now({});
  }

  ~BridgeServer() override {
    // The worker posts to the server; replies in its queue may only be dropped once the io thread
    // is gone.
    worker_->stop();
    server_.reset();
  }

  Result<void> listen() {
    HttpServerConfig http;
    http.listener = config_.listener;
    http.tls_certificate = config_.tls_certificate;
    http.tls_key = config_.tls_key;
    http.exempt_addresses = config_.exempt_addresses;
    http.connections_per_address = static_cast<size_t>(config_.limits.connections_per_address);
    auto server = HttpServer::make(std::move(http), *this);
    if (!server) return std::unexpected(server.error());
    server_ = std::move(*server);
    if (config_.accept == BridgeConfig::Accept::at_once) open();
    return {};
  }

  void open() override {
    if (!std::exchange(opened_, true)) server_->run();
  }
  void set_models(Models models) override {
    server_->post(
        [this, models = std::move(models)]() mutable { set_models_now(std::move(models)); });
  }
  void set_state(BridgeState state) override {
    server_->post([this, state = std::move(state)]() mutable {
      state.draining |= draining_;
      state_ = std::move(state);
    });
  }
  void deliver(std::vector<router_out::Deliver> deliveries) override {
    server_->post([this, deliveries = std::move(deliveries)] {
      const Time now = clock();
      for (const router_out::Deliver& delivery : deliveries) {
        const auto found = open_.find(delivery.id);
        if (found == open_.end()) continue;  // its client left
        found->second->deliver(delivery, now, metrics_);
        if (delivery.last) open_.erase(found);
      }
    });
  }
  void fail(router_out::Fail failure) override {
    server_->post([this, failure = std::move(failure)] {
      const auto found = open_.find(failure.id);
      if (found == open_.end()) return;
      found->second->fail(failure, metrics_);
      open_.erase(found);
    });
  }
  void fail_all(Error error) override {
    server_->post([this, error = std::move(error)] {
      for (auto& [id, open] : std::exchange(open_, {})) open->fail({id, error, 1s}, metrics_);
    });
  }
  Result<void> reload() override {
    if (!config_.api_keys_file.empty()) {
      auto keys = ApiKeys::load(config_.api_keys_file);
      if (!keys) return std::unexpected(keys.error());
      server_->post([this, keys = std::move(*keys)]() mutable { keys_ = std::move(keys); });
    }
    return server_->reload_tls();
  }
  size_t connections() override {
    std::promise<size_t> count;
    auto answer = count.get_future();
    server_->post([&] { count.set_value(server_->stats().connections); });
    return answer.get();
  }
  void drain() override {
    server_->post([this] { draining_ = state_.draining = true; });
    server_->drain();
  }

 private:
  static Time clock() { return Time(std::chrono::steady_clock::now().time_since_epoch()); }

  void set_models_now(Models models) {
    models_ = std::make_shared<const Models>(std::move(models));
    models_body_ = models_json(*models_);
  }

  // -- one exchange
  // ---------------------------------------------------------------------------------------------

  void answer(const Exchange& exchange, HttpResponse response) {
    response.headers.push_back({"X-Request-Id", exchange.request_id});
    metrics_.answered(exchange.route ? exchange.route->path : "other", response.status);
    exchange.reply->respond(std::move(response));
  }
  void answer_json(const Exchange& exchange, std::string body, int status = 200) {
    HttpResponse response;
    response.status = status;
    response.body = std::move(body);
    answer(exchange, std::move(response));
  }
  void refuse(const Exchange& exchange, const RequestError& problem) {
    auto response = error_response(problem.error, problem.code);
    if (response.status == 503) response.headers = {{"Retry-After", "1"}};
    answer(exchange, std::move(response));
  }

  void handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override {
    Exchange exchange{std::move(request), std::move(reply)};
    exchange.arrived = clock();
    exchange.request_id = request_id_of(exchange.request);
    exchange.route = find_route(exchange.request.path);
    if (!exchange.route)
      return answer(
          exchange,
          error_response(404, "There is nothing at this path: see /openapi.json.", "unknown_path"));
    const std::string_view wanted = exchange.route->method;
    const std::string& method = exchange.request.method;
    if (method != wanted && !(wanted == "GET" && method == "HEAD")) {
      auto response = error_response(405, fmt::format("This path takes {} only.", wanted),
                                     "method_not_allowed");
      response.headers.push_back({"Allow", wanted == "GET" ? "GET, HEAD" : std::string(wanted)});
      return answer(exchange, std::move(response));
    }
    if (!origin_allowed(exchange.request, config_.allowed_hosts))
      return answer(
          exchange,
          error_response(403,
                         "Pages of other sites may not use this server: add the host to the "
                         "allowed hosts if it is yours.",
                         "origin_not_allowed"));
    if (exchange.route->needs_key && keys_ && !identify(exchange)) return;
    dispatch(std::move(exchange));
  }

  bool identify(Exchange& exchange) {
    const auto key = bearer_token(exchange.request.header("Authorization"));
    const auto tenant = key.empty() ? std::nullopt : keys_->find(key);
    if (!tenant) {
      auto response = error_response(
          401,
          key.empty() ? "No API key was sent: add the header `Authorization: Bearer KEY`."
                      : "The API key is not known here: check it, or ask for a new one.",
          "invalid_api_key");
      response.headers.push_back({"WWW-Authenticate", "Bearer"});
      answer(exchange, std::move(response));
      return false;
    }
    exchange.tenant = tenant_salt(config_.tenant_root, tenant->name);
    return true;
  }

  void dispatch(Exchange exchange) {
    switch (exchange.route->id) {
      case RouteId::chat:
        return generate(std::move(exchange), Api::chat);
      case RouteId::completions:
        return generate(std::move(exchange), Api::completions);
      case RouteId::inference:
        return generate(std::move(exchange), Api::inference);
      case RouteId::tokenize:
        return convert(std::move(exchange), tokenize);
      case RouteId::detokenize:
        return convert(std::move(exchange), detokenize);
      case RouteId::embeddings:
        return answer(
            exchange,
            error_response(501, "No encoder model is served here: embeddings are not available.",
                           "not_supported"));
      case RouteId::models:
        return answer_json(exchange, models_body_);
      case RouteId::model:
        return show_model(exchange);
      case RouteId::health:
      case RouteId::readyz: {
        const bool ready = state_.ready && !state_.draining;
        return answer_json(exchange, readiness_json(state_), ready ? 200 : 503);
      }
      case RouteId::livez:
        return answer_json(exchange, R"({"live":true})");
      case RouteId::metrics:
        return show_metrics(exchange);
      case RouteId::openapi:
        return answer_json(exchange, openapi_json(config_.build));
    }
  }

  void show_model(const Exchange& exchange) {
    const std::string_view name =
        std::string_view(exchange.request.path).substr(std::string_view("/v1/models/").size());
    auto model = choose_model(*models_, std::string(name));
    if (!model) return refuse(exchange, model.error());
    answer_json(exchange, model_json(**model));
  }

  void show_metrics(const Exchange& exchange) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    const auto compat = exchange.request.query_value("compat");
    response.body = metrics_.render(state_, server_->stats(),
                                    compat == "none" ? MetricsCompat::none : MetricsCompat::vllm);
    answer(exchange, std::move(response));
  }

  /// Runs `work` here for small bodies, on the worker for big ones, then `then` here with its
  /// result.
  template <class Work, class Then>
  void offload(Exchange exchange, Work work, Then then) {
    if (exchange.request.body.size() <= kInlineParseBytesMax) {
      auto result = work(exchange);
      then(std::move(exchange), std::move(result));
      return;
    }
    auto shared = std::make_shared<Exchange>(std::move(exchange));
    const bool taken = worker_->offer([this, shared, work, then]() mutable {
      auto result = work(*shared);
      server_->post([shared = std::move(shared), then, result = std::move(result)]() mutable {
        then(std::move(*shared), std::move(result));
      });
    });
    if (taken) return;
    auto response = error_response(429, "Too many large requests wait to be read: retry later.",
                                   "rate_limit_exceeded");
    response.headers.push_back({"Retry-After", "1"});
    answer(*shared, std::move(response));
  }

  void convert(Exchange exchange, BodyOrError (*conversion)(const Models&, const std::string&)) {
    offload(
        std::move(exchange),
        [models = models_, conversion](const Exchange& at) {
          return conversion(*models, at.request.body);
        },
        [this](Exchange at, BodyOrError body) {
          if (!body) return refuse(at, body.error());
          answer_json(at, std::move(*body));
        });
  }

  void generate(Exchange exchange, Api api) {
    offload(
        std::move(exchange),
        [models = models_, api](const Exchange& at) {
          return prepare_generation(api, *models, at.request.body, at.tenant);
        },
        [this](Exchange at, PreparedOrError prepared) {
          if (!prepared) return refuse(at, prepared.error());
          submit(std::move(at), std::move(*prepared));
        });
  }

  void submit(Exchange exchange, Prepared prepared) {
    if (exchange.reply->gone()) return;
    ClientRequest& request = prepared.request;
    request.id = random_request_id();
    request.trace = trace_context_of(exchange.request);
    request.deadline = config_.limits.request_deadline;
    const bool deterministic = request.sampling.temperature == 0 || prepared.has_seed;
    if (!prepared.has_seed) request.sampling.seed = random_bits();
    if (deterministic) request.cache_key = cache_key(request, *prepared.model);
    prepared.answer.id = request.id;
    prepared.answer.created = std::time(nullptr);
    exchange.reply->on_gone([this, id = request.id] {
      // Not at once: the news may come while this very request writes.
      server_->post([this, id] { client_gone(id); });
    });
    open_.emplace(request.id, std::make_unique<OpenRequest>(
                                  std::move(prepared.answer), prepared.shape, exchange.reply,
                                  std::move(exchange.request_id), exchange.arrived));
    sink_.submit(std::move(request));
  }

  void client_gone(RequestId id) {
    const auto found = open_.find(id);
    if (found == open_.end()) return;
    found->second->gone(metrics_);
    open_.erase(found);
    sink_.client_gone(id);
  }

  void tick() override {
    const Time now = clock();
    for (auto& [id, open] : open_) open->tick(now, metrics_);
  }

  const BridgeConfig config_;
  RequestSink& sink_;
  std::optional<ApiKeys> keys_;
  Metrics metrics_;
  std::shared_ptr<const Models> models_;
  std::string models_body_;
  BridgeState state_;
  bool draining_ = false;
  bool opened_ = false;  ///< owner's thread
  std::unordered_map<RequestId, std::unique_ptr<OpenRequest>> open_;
  std::unique_ptr<Worker> worker_ = std::make_unique<Worker>(kParseQueueMax);
  std::unique_ptr<HttpServer> server_;
};

}  // namespace

Result<std::unique_ptr<Bridge>> Bridge::start(BridgeConfig config, RequestSink& sink) {
  std::optional<ApiKeys> keys;
  if (!config.api_keys_file.empty()) {
    auto loaded = ApiKeys::load(config.api_keys_file);
    if (!loaded) return std::unexpected(loaded.error());
    keys = std::move(*loaded);
  }
  auto bridge = std::make_unique<BridgeServer>(std::move(config), sink, std::move(keys));
  if (auto listening = bridge->listen(); !listening) return std::unexpected(listening.error());
  return bridge;
}

}  // namespace troupe
