#include "net/bridge.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <future>
#include <optional>
#include <unordered_map>

#include "net/answer_record.h"
#include "net/api_keys.h"
#include "net/bridge_bodies.h"
#include "net/clock.h"
#include "net/host_policy.h"
#include "net/http_server.h"
#include "net/metrics.h"
#include "net/open_request.h"
#include "net/openapi.h"
#include "net/prepared_request.h"
#include "net/random.h"
#include "net/request_headers.h"
#include "net/routes.h"
#include "net/worker.h"

namespace troupe {
namespace {

/// A request on its way through the bridge.
struct Exchange {
  HttpRequest request;
  std::shared_ptr<HttpReply> reply;
  const Route* route = nullptr;
  std::string request_id;
  Salt tenant{};
  Time arrived;
};

class BridgeServer final : public Bridge, private HttpHandler {
 public:
  BridgeServer(BridgeConfig config, RequestSink& sink, std::optional<ApiKeys> keys)
      : config_(std::move(config)),
        sink_(sink),
        keys_(std::move(keys)),
        metrics_(config_.build, config_.node) {
    state_.readiness.reason = "The router has just started.";
    set_models_now({});
  }

  ~BridgeServer() override {
    // The worker posts to the server; replies in its queue may only be dropped once the io thread
    // is gone.
    worker_->stop();
    // Before server_ is nothing: the io thread asks it for things until then.
    if (server_ != nullptr) server_->end();
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
    server_->post([this, deliveries = std::move(deliveries)]() mutable {
      const Time now = steady_now();
      for (router_out::Deliver& delivery : deliveries) {
        const auto found = open_.find(delivery.id);
        if (found == open_.end()) continue;  // its client left
        const bool ends = delivery.last;
        found->second->deliver(std::move(delivery), now, metrics_);
        if (ends) open_.erase(found);
      }
    });
  }
  void fail(router_out::Fail failure) override {
    server_->post([this, failure = std::move(failure)] {
      const auto found = open_.find(failure.id);
      if (found == open_.end()) return;
      const auto open = std::move(found->second);
      open_.erase(found);
      open->fail(failure, metrics_);
      // One part that fails is the end of the whole answer.
      for (RequestId part : open->open_parts())
        if (open_.erase(part) > 0) sink_.client_gone(part);
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
  void set_models_now(Models models) {
    models_ = std::make_shared<const Models>(std::move(models));
    models_body_ = models_body(*models_);
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
    exchange.arrived = steady_now();
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
    if (auto refusal = refuse_host(config_.hosts, exchange.request))
      return answer(exchange, std::move(*refusal));
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
        return convert(std::move(exchange), tokenize_body);
      case RouteId::detokenize:
        return convert(std::move(exchange), detokenize_body);
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
        const bool ready = state_.readiness.ready && !state_.draining;
        return answer_json(exchange, readiness_body(state_), ready ? 200 : 503);
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
    answer_json(exchange, model_body(**model));
  }

  void show_metrics(const Exchange& exchange) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    const auto compat = exchange.request.query_value("compat");
    // The router counts what its cache actor answered; what was answered here it never saw.
    BridgeState state = state_;
    state.stats.cache_hits_memory += kept_answers_;
    response.body = metrics_.render(state, server_->stats(),
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
        [models = models_, api,
         answers = state_.draining ? nullptr : config_.answers](const Exchange& at) {
          return prepare_request(api, *models, at.request.body, at.tenant, answers.get());
        },
        [this](Exchange at, std::expected<PreparedRequest, RequestError> prepared) {
          if (!prepared) return refuse(at, prepared.error());
          if (prepared->kept) return answer_kept(at, *prepared);
          submit(std::move(at), std::move(*prepared));
        });
  }

  void answer_kept(const Exchange& exchange, const PreparedRequest& prepared) {
    const AnswerTemplate& kept = prepared.kept->text;
    Timings timings = kept.timings();
    const Duration taken = steady_now() - exchange.arrived;
    timings.queue = timings.ttft = taken;
    std::string text = kept.render(random_request_id(), std::time(nullptr), timings);
    ++kept_answers_;
    metrics_.first_token(prepared.model->name, taken);
    metrics_.finished(prepared.model->name, kept.ending(), taken, timings);
    const HttpHeader outcome{"X-Cache", std::string(header_value(CacheOutcome::hit_memory))};
    if (prepared.shape == AnswerShape::whole) {
      HttpResponse response;
      response.headers.push_back(outcome);
      response.body = std::move(text);
      return answer(exchange, std::move(response));
    }
    HttpResponse head = stream_head(exchange.request_id);
    head.headers.push_back(outcome);
    metrics_.answered(exchange.route->path, head.status);
    exchange.reply->start_stream(std::move(head), kSseIdle, kSseKeepAlive);
    exchange.reply->write(text);
    exchange.reply->finish();
  }

  /// Fills in what a parsed request still lacks.
  AnswerPart complete(ClientRequest& request, const PreparedRequest& prepared,
                      const TraceContext& trace) {
    request.id = random_request_id();
    request.trace = trace;
    request.deadline = config_.limits.request_deadline;
    const bool deterministic = request.sampling.temperature == 0 || prepared.has_seed;
    if (!prepared.has_seed) request.sampling.seed = random_bits();
    request.numerics_id = prepared.model->numerics_id;
    if (!deterministic) return {request.id, CacheOutcome::not_cacheable};
    request.cache_key = cache_key(request, *prepared.model);
    return {request.id, std::nullopt};
  }

  void submit(Exchange exchange, PreparedRequest prepared) {
    if (exchange.reply->gone()) return;
    const TraceContext trace = trace_context_of(exchange.request);
    std::vector<AnswerPart> parts;
    for (ClientRequest& request : prepared.requests)
      parts.push_back(complete(request, prepared, trace));
    std::unique_ptr<AnswerRecord> record;
    if (prepared.key)
      record = std::make_unique<AnswerRecord>(config_.answers, *prepared.key, recorded_);
    prepared.answer.id = parts.front().id;
    prepared.answer.created = std::time(nullptr);
    const int32_t choices = prepared.answer.choices;
    const auto open = std::make_shared<OpenRequest>(
        std::move(prepared.answer), prepared.shape, AnswerParts(std::move(parts), choices),
        exchange.reply, std::move(exchange.request_id), exchange.arrived, std::move(record));
    exchange.reply->on_gone([this, watched = std::weak_ptr(open)] {
      // Not at once: the news may come while this very request writes.
      server_->post([this, watched] {
        if (const auto left = watched.lock()) client_gone(*left);
      });
    });
    for (const ClientRequest& request : prepared.requests) open_.emplace(request.id, open);
    for (ClientRequest& request : prepared.requests) sink_.submit(std::move(request));
  }

  void client_gone(OpenRequest& left) {
    left.gone(metrics_);
    for (RequestId part : left.open_parts())
      if (open_.erase(part) > 0) sink_.client_gone(part);
  }

  void tick() override {
    const Time now = steady_now();
    for (auto& [id, open] : open_) open->tick(now, metrics_);
  }

  const BridgeConfig config_;
  RequestSink& sink_;
  std::optional<ApiKeys> keys_;
  Metrics metrics_;
  std::shared_ptr<const Models> models_;
  std::string models_body_;
  BridgeState state_;
  RecordedBytes recorded_;
  uint64_t kept_answers_ = 0;  ///< answered here from the response cache
  bool draining_ = false;
  bool opened_ = false;  ///< owner's thread
  /// By the id of each part; who holds the last entry owns the request.
  std::unordered_map<RequestId, std::shared_ptr<OpenRequest>> open_;
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
