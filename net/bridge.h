// The HTTP bridge of a router process: from OpenAI-style HTTP to ClientRequest and from Deliver
// back to JSON or SSE. It parses, validates, renders the template, tokenises and formats; what
// happens to a request is the Router's decision. Runs on its own thread(s); every public call may
// come from any thread and returns at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/redis_store.h"
#include "cache/response_cache.h"
#include "cluster/router.h"
#include "config/limits.h"
#include "config/result.h"
#include "model/chat_template.h"
#include "model/model_spec.h"
#include "model/tokenizer.h"
#include "net/host_policy.h"

namespace troupe {

/// A model as the bridge serves it; made by the router shell from a ModelBundle.
struct ServedModel {
  std::string name;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate>
      chat_template;  ///< null: the model has none, chat answers 400
  ModelSpec spec;
  int32_t context = 0;  ///< positions a sequence may reach
  Digest weights_id{}, numerics_id{};
  Digest bundle_id{};   ///< of tokenizer, template and spec as fetched
  int64_t created = 0;  ///< Unix seconds
};

/// Where requests go. Called on the bridge's thread; must not block.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  virtual void submit(ClientRequest request) = 0;
  virtual void client_gone(RequestId id) = 0;
};

/// What /health, /readyz and /metrics tell; pushed by the router shell on change and each second.
struct BridgeState {
  RouterReadiness readiness;
  bool draining = false;
  RouterStats stats;
  std::vector<std::pair<std::string, GroupStatus>> groups;  ///< model name, status
  std::map<std::string, uint64_t> dropped;                  ///< messages, by why
  std::optional<RedisStats> redis;                          ///< none: this router has no such tier
};

struct BridgeConfig {
  int listener = -1;  ///< bound, listening TCP socket; the node keeps a copy so that a respawn
                      ///< loses no connection
  std::string tls_certificate, tls_key;  ///< PEM files; empty: plain HTTP
  std::string
      api_keys_file;  ///< lines name:role:sha256hex; empty: no keys asked; reload() re-reads
  std::vector<std::string> exempt_addresses = {"127.0.0.1",
                                               "::1"};  ///< from the per-address connection limit
  HostPolicy hosts;
  Salt tenant_root{};  ///< keys tenant salts (from cluster.secret)
  Limits limits;
  /// Whole answers under the keys of net/answer_key.h, beside whatever else it holds; null: none.
  std::shared_ptr<ResponseCache> answers;
  /// on_open: connections wait in the listener's backlog until open(), so that a respawned router
  /// does not turn away what it could answer a moment later.
  enum class Accept : uint8_t { at_once, on_open } accept = Accept::at_once;
  std::string build;  ///< for build info
  std::string node;
};

class Bridge {
 public:
  static Result<std::unique_ptr<Bridge>> start(BridgeConfig config, RequestSink& sink);
  virtual ~Bridge() = default;  ///< closes every connection and joins its threads

  virtual void set_models(std::vector<std::shared_ptr<const ServedModel>> models) = 0;
  virtual void set_state(BridgeState state) = 0;
  /// Takes connections from now on, if that was left to it. More calls do nothing. Of the owner's
  /// thread only.
  virtual void open() = 0;
  /// Effects of one Router step, in order. One wake-up per call, however many.
  virtual void deliver(std::vector<router_out::Deliver> deliveries) = 0;
  virtual void fail(router_out::Fail failure) = 0;
  /// Ends every open request with this error, in band where its answer has begun. The sink is not
  /// told.
  virtual void fail_all(Error error) = 0;
  /// Re-reads keys and certificate; on error the old ones stay.
  virtual Result<void> reload() = 0;
  /// readyz 503 and `Connection: close` from now on; running streams go on.
  virtual void drain() = 0;
  /// Open client connections. Asks the io thread and waits for it; after drain() and the last
  /// answer it falls to 0 once everything has been written.
  virtual size_t connections() = 0;
};

}  // namespace troupe
