#include "config/cluster_config.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "config/closest.h"
#include "config/digest.h"

namespace troupe {

namespace {

/// Thrown inside this file only; carries the finished sentence.
struct Refusal {
  std::string message, key;
};

int line_of(const YAML::Node& node) {
  return node.IsDefined() ? std::max(node.Mark().line + 1, 1) : 1;
}

/// The file as refusals name it: where each key was read, for what is only found wrong once all is.
class Lines {
 public:
  Lines(std::string file, int first) : file_(std::move(file)), first_(first) {}

  void read(const std::string& key, int line) { lines_.emplace(key, line); }
  /// A key that the file lacks is refused at what it should stand in.
  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const {
    std::string at = key;
    while (!at.empty() && !lines_.contains(at)) {
      const size_t end = at.find_last_of(".[");
      at.resize(end == std::string::npos ? 0 : end);
    }
    refuse_at(at.empty() ? first_ : lines_.find(at)->second, key, expected);
  }
  [[noreturn]] void refuse_at(int line, const std::string& key, const std::string& expected) const {
    throw Refusal{fmt::format("{}:{}: {}: {}", file_, line, key, expected), key};
  }

 private:
  std::string file_;
  int first_;  ///< line of the first key
  std::map<std::string, int> lines_;
};

/// A YAML value with the path that led to it; every accessor refuses with file, line, key and what
/// was expected.
class Value {
 public:
  Value(YAML::Node node, Lines& lines, std::string key)
      : node_(std::move(node)), lines_(lines), key_(std::move(key)) {}

  [[noreturn]] void refuse(const std::string& expected) const {
    lines_.refuse_at(line_of(node_), key_, expected);
  }

  using Reader = std::function<void(const Value&)>;
  /// Reads a map; keys without a reader, and keys given twice, are refused.
  void map(const std::map<std::string, Reader, std::less<>>& readers) const {
    if (!node_.IsMap()) refuse("expected a map");
    std::set<std::string> seen;
    for (const auto& entry : node_) {
      std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      Value value(entry.second, lines_, key_ == "config" ? name : key_ + "." + name);
      auto found = readers.find(name);
      if (found == readers.end())
        Value(entry.first, lines_, value.key_)
            .refuse("unknown key; " + expected_one_of(name, readers));
      if (!seen.insert(name).second)
        Value(entry.first, lines_, value.key_).refuse("given twice; keep one");
      lines_.read(value.key_, line_of(entry.first));
      found->second(value);
    }
  }
  void list(const Reader& reader) const {
    if (!node_.IsSequence()) refuse("expected a list");
    int index = 0;
    for (const auto& item : node_) {
      Value value(item, lines_, fmt::format("{}[{}]", key_, index++));
      lines_.read(value.key_, line_of(item));
      reader(value);
    }
  }

  std::string text() const {
    if (!node_.IsScalar() || node_.Scalar().empty()) refuse("expected text");
    return node_.Scalar();
  }
  std::string name() const {
    std::string value = text();
    auto fits = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '_' || c == '.';
    };
    if (value.size() > 64 || !std::all_of(value.begin(), value.end(), fits))
      refuse("expected a name of at most 64 letters, digits, '-', '_' or '.'");
    return value;
  }
  bool yes_or_no() const {
    if (node_.IsScalar() && node_.Scalar() == "true") return true;
    if (node_.IsScalar() && node_.Scalar() == "false") return false;
    refuse("expected true or false");
  }
  int64_t integer(int64_t low, int64_t high) const {
    const std::string& s = node_.IsScalar() ? node_.Scalar() : std::string();
    int64_t value = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (s.empty() || error != std::errc() || end != s.data() + s.size() || value < low ||
        value > high)
      refuse(fmt::format("expected a whole number from {} to {}", low, high));
    return value;
  }
  double number(double low, double high) const {
    const std::string& s = node_.IsScalar() ? node_.Scalar() : std::string();
    double value = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (s.empty() || error != std::errc() || end != s.data() + s.size() ||
        !(value >= low && value <= high))
      refuse(fmt::format("expected a number from {} to {}", low, high));
    return value;
  }
  int64_t bytes(int64_t low, int64_t high) const {
    const std::string& s = node_.IsScalar() ? node_.Scalar() : std::string();
    int64_t value = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    std::string_view unit(end, static_cast<size_t>(s.data() + s.size() - end));
    int64_t factor = unit == ""      ? 1
                     : unit == "KiB" ? kKiB
                     : unit == "MiB" ? kMiB
                     : unit == "GiB" ? kGiB
                     : unit == "TiB" ? 1024 * kGiB
                                     : 0;
    if (s.empty() || error != std::errc() || factor == 0 || value < 0 || value > high / factor ||
        value * factor < low)
      refuse(fmt::format("expected a size from {} to {} bytes, as 512MiB or 8GiB", low, high));
    return value * factor;
  }
  Duration duration(Duration low, Duration high) const {
    const std::string& s = node_.IsScalar() ? node_.Scalar() : std::string();
    double value = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    std::string_view unit(end, static_cast<size_t>(s.data() + s.size() - end));
    double factor = unit == "us" ? 1e3 : unit == "ms" ? 1e6 : unit == "s" ? 1e9 : 0;
    double ns = value * factor;
    if (s.empty() || error != std::errc() || factor == 0 ||
        !(ns >= static_cast<double>(low.count())) || !(ns <= static_cast<double>(high.count())))
      refuse(fmt::format("expected a time from {} ms to {} s, as 500ms or 30s",
                         to_seconds(low) * 1e3, to_seconds(high)));
    return Duration(static_cast<int64_t>(ns));
  }
  HostPort host_port() const {
    auto value = parse_host_port(text());
    if (!value) refuse("expected HOST:PORT, as 127.0.0.1:8080");
    return *value;
  }
  PortRange port_range() const {
    std::string s = text();
    unsigned first = 0, last = 0;
    char extra = 0;
    if (std::sscanf(s.c_str(), "%u-%u%c", &first, &last, &extra) != 2 || first < 1 ||
        last > 65535 || last < first)
      refuse("expected a port range, as 7410-7449");
    return {static_cast<uint16_t>(first), static_cast<uint16_t>(last)};
  }
  std::string path(const std::string& folder) const {
    std::filesystem::path given(text());
    return given.is_absolute()
               ? given.string()
               : (std::filesystem::path(folder) / given).lexically_normal().string();
  }
  std::string word(std::initializer_list<const char*> words) const {
    std::map<std::string, std::string, std::less<>> values;
    for (const char* one : words) values.emplace(one, one);
    return one_of(values);
  }
  template <class T>
  T one_of(const std::map<std::string, T, std::less<>>& values) const {
    auto found = values.find(text());
    if (found != values.end()) return found->second;
    refuse(expected_one_of(text(), values));
  }

 private:
  /// What was probably meant, or else all there is.
  template <class T>
  static std::string expected_one_of(const std::string& given,
                                     const std::map<std::string, T, std::less<>>& values) {
    std::vector<std::string> words;
    std::string known;
    for (const auto& [word, unused] : values) {
      words.push_back(word);
      known += (known.empty() ? "" : ", ") + word;
    }
    const std::string meant = closest(given, words);
    return "expected one of " + known + (meant.empty() ? "" : "; did you mean " + meant + "?");
  }

  YAML::Node node_;
  Lines& lines_;
  std::string key_;
};

NodeConfig read_node(const Value& value) {
  NodeConfig node;
  bool devices = false;
  value.map({
      {"name", [&](const Value& v) { node.name = v.name(); }},
      {"host", [&](const Value& v) { node.host = v.text(); }},
      {"control_port",
       [&](const Value& v) { node.control_port = static_cast<uint16_t>(v.integer(1, 65535)); }},
      {"data_ports", [&](const Value& v) { node.data_ports = v.port_range(); }},
      {"admin_port",
       [&](const Value& v) { node.admin_port = static_cast<uint16_t>(v.integer(1, 65535)); }},
      {"seed", [&](const Value& v) { node.seed = v.yes_or_no(); }},
      {"devices",
       [&](const Value& v) {
         devices = true;
         v.list([&](const Value& item) {
           if (item.text() != fmt::format("cpu:{}", node.cpu_slots))
             item.refuse(
                 fmt::format("expected cpu:{} (devices are counted from cpu:0)", node.cpu_slots));
           if (++node.cpu_slots > 256) item.refuse("expected at most 256 devices");
         });
       }},
  });
  if (node.name.empty()) value.refuse("expected a name");
  if (node.host.empty()) node.host = "127.0.0.1";
  if (!devices) node.cpu_slots = 1;
  if (node.cpu_slots == 0) value.refuse("expected at least one device, as devices: [cpu:0]");
  return node;
}

RouterListen read_router(const Value& value, const std::string& folder) {
  RouterListen router;
  value.map({
      {"node", [&](const Value& v) { router.node = v.name(); }},
      {"http", [&](const Value& v) { router.http = v.host_port(); }},
      {"insecure_http", [&](const Value& v) { router.insecure_http = v.yes_or_no(); }},
      {"trusted_proxies",
       [&](const Value& v) {
         v.list([&](const Value& item) {
           if (!is_ip_address(item.text())) item.refuse("expected an IP address");
           router.trusted_proxies.push_back(item.text());
         });
       }},
      {"allowed_hosts",
       [&](const Value& v) {
         v.list([&](const Value& item) {
           const auto host = parse_host(item.text());
           if (!host)
             item.refuse(
                 "expected a host name or HOST:PORT as clients ask for it, as chat.example; no "
                 "scheme, path or wildcard");
           router.allowed_hosts.push_back(*host);
         });
       }},
      {"tls",
       [&](const Value& v) {
         v.map({{"cert", [&](const Value& w) { router.tls_certificate = w.path(folder); }},
                {"key", [&](const Value& w) { router.tls_key = w.path(folder); }}});
         if (router.tls_certificate.empty() || router.tls_key.empty())
           v.refuse("expected both cert and key");
       }},
  });
  if (router.node.empty()) value.refuse("expected node: NAME");
  if (router.http.host.empty()) value.refuse("expected http: HOST:PORT");
  return router;
}

ModelConfig read_model(const Value& value, const std::string& folder) {
  ModelConfig model;
  value.map({
      {"name", [&](const Value& v) { model.name = v.name(); }},
      {"source", [&](const Value& v) { model.source = v.path(folder); }},
      {"sha256",
       [&](const Value& v) {
         model.sha256 = digest_from_hex(v.text());
         if (!model.sha256) v.refuse("expected 64 hex digits");
       }},
      {"backend",
       [&](const Value& v) {
         model.backend = v.word({"auto", "native", "torch", "oracle"});
       }},
      {"groups", [&](const Value& v) { model.groups = static_cast<int32_t>(v.integer(1, 1024)); }},
      {"tensor_parallel",
       [&](const Value& v) { model.tensor_parallel = static_cast<int32_t>(v.integer(1, 1024)); }},
      {"pipeline_parallel",
       [&](const Value& v) { model.pipeline_parallel = static_cast<int32_t>(v.integer(1, 1024)); }},
      {"standby",
       [&](const Value& v) {
         model.standby = v.one_of<Standby>(
             {{"active", Standby::active}, {"warm", Standby::warm}, {"cold", Standby::cold}});
         if (model.standby != Standby::active)
           v.refuse("warm and cold standby do not exist yet; remove this key");
       }},
      {"threads",
       [&](const Value& v) { model.threads = static_cast<int32_t>(v.integer(1, 1024)); }},
      {"ctx",
       [&](const Value& v) { model.context = static_cast<int32_t>(v.integer(16, kContextMax)); }},
      {"kv_memory", [&](const Value& v) { model.kv_memory = v.bytes(kMiB, 16 * 1024 * kGiB); }},
      {"max_batch_tokens",
       [&](const Value& v) {
         model.max_batch_tokens = static_cast<int32_t>(v.integer(1, kRowsPerStepMax));
       }},
      {"isa",
       [&](const Value& v) {
         model.isa = v.word({"auto", "scalar", "avx2", "avx512", "amx"});
       }},
      {"kv_dtype",
       [&](const Value& v) {
         model.kv_dtype = v.word({"f16", "int8"});
       }},
      {"oracle_step", [&](const Value& v) { model.oracle_step = v.duration(0ns, 10s); }},
  });
  if (model.name.empty()) value.refuse("expected a name");
  if (model.source.empty() && model.backend != "oracle")
    value.refuse("expected source: a GGUF file or a model directory");
  std::error_code ignored;  // what can't be looked at here may be fine on the nodes
  if (model.sha256 &&
      (model.source.empty() || std::filesystem::is_directory(model.source, ignored)))
    value.refuse(
        "expected sha256 only with a source that is one file, as a GGUF file; leave it out for a "
        "directory");
  if (model.oracle_step != 0ns && model.backend != "oracle")
    value.refuse("expected oracle_step only with backend: oracle");
  const int32_t ranks = model.tensor_parallel * model.pipeline_parallel;
  if (ranks > kCollectiveRanksMax) {
    const int32_t tensor = std::min(model.tensor_parallel, kCollectiveRanksMax);
    value.refuse(
        fmt::format("expected at most {} ranks a group, tensor_parallel x pipeline_parallel, not "
                    "{}; the nearest layout is tensor_parallel {} with pipeline_parallel {}",
                    kCollectiveRanksMax, ranks, tensor, kCollectiveRanksMax / tensor));
  }
  if (ranks > 1 && model.backend == "torch")
    value.refuse(
        "expected backend: native for several ranks a group; torch takes tensor_parallel 1 with "
        "pipeline_parallel 1");
  const bool ours = model.backend == "auto" || model.backend == "native";
  if (model.isa != "auto" && !ours) value.refuse("expected isa only with backend: native or auto");
  if (model.kv_dtype != "f16" && !ours)
    value.refuse("expected kv_dtype: int8 only with backend: native or auto");
  return model;
}

void read_cache(const Value& value, ClusterConfig& config) {
  bool insecure = false;
  value.map({
      {"redis",
       [&](const Value& v) {
         config.redis = v.text();
         constexpr std::string_view kScheme = "redis://";
         if (!config.redis.starts_with(kScheme) ||
             !parse_host_port(std::string_view(config.redis).substr(kScheme.size())))
           v.refuse("expected redis://HOST:PORT");
       }},
      {"insecure", [&](const Value& v) { insecure = v.yes_or_no(); }},
      {"disk",
       [&](const Value& v) { v.refuse("the disk tier does not exist yet; remove this key"); }},
  });
  config.redis_insecure = insecure;
  if (!config.redis.empty()) {
    auto address = parse_host_port(std::string_view(config.redis).substr(8));
    if (!is_loopback(address->host) && !insecure)
      value.refuse(
          "redis:// to another host is unencrypted; expected insecure: true beside it if that is "
          "meant");
  }
}

void read_limits(const Value& value, Limits& limits) {
  value.map({
      {"timing_scale", [&](const Value& v) { limits.timing_scale = v.number(1, 100); }},
      {"router_requests",
       [&](const Value& v) { limits.router_requests = v.integer(1, 1'000'000); }},
      {"batcher_queue", [&](const Value& v) { limits.batcher_queue = v.integer(1, 1'000'000); }},
      {"connections_per_address",
       [&](const Value& v) { limits.connections_per_address = v.integer(1, 1'000'000); }},
      {"response_cache_bytes",
       [&](const Value& v) { limits.response_cache_bytes = v.bytes(0, 64 * kGiB); }},
      {"request_deadline",
       [&](const Value& v) { limits.request_deadline = v.duration(1s, 86400s); }},
      {"queue_wait", [&](const Value& v) { limits.queue_wait = v.duration(100ms, 3600s); }},
      {"drain", [&](const Value& v) { limits.drain = v.duration(0ns, 3600s); }},
  });
}

}  // namespace

Result<ClusterConfig> load_cluster_config(const std::string& file) {
  std::ifstream in(file);
  if (!in)
    return fail(ErrorCode::not_found,
                fmt::format("{}: cannot be read; give the path of a cluster config", file));
  std::ostringstream text;
  text << in.rdbuf();
  if (text.view().size() > kMiB)
    return fail(ErrorCode::too_large,
                fmt::format("{}: is over 1 MiB; that is no cluster config", file));
  return parse_cluster_config(text.view(), file,
                              std::filesystem::absolute(file).parent_path().string());
}

Result<ClusterConfig> parse_cluster_config(std::string_view yaml, const std::string& file,
                                           const std::string& folder) {
  ClusterConfig config;
  try {
    YAML::Node root = YAML::Load(std::string(yaml));
    Lines lines(file, line_of(root));
    Value top(root, lines, "config");
    top.map({
        {"cluster", [&](const Value& v) { config.cluster = v.name(); }},
        {"nodes",
         [&](const Value& v) {
           v.list([&](const Value& item) {
             config.nodes.push_back(read_node(item));
             for (size_t i = 0; i + 1 < config.nodes.size(); ++i)
               if (config.nodes[i].name == config.nodes.back().name)
                 item.refuse(fmt::format("the name {} is taken by another node; expected a new one",
                                         config.nodes[i].name));
           });
         }},
        {"routers",
         [&](const Value& v) {
           v.list([&](const Value& item) {
             config.routers.push_back(read_router(item, folder));
             const RouterListen& b = config.routers.back();
             for (size_t i = 0; i + 1 < config.routers.size(); ++i)
               if (config.routers[i].node == b.node)
                 item.refuse(fmt::format("node {} has a router already; expected one router a node",
                                         b.node));
             if (!is_loopback(b.http.host) && b.tls_certificate.empty() && !b.insecure_http)
               item.refuse(
                   "a bind beyond loopback needs tls and api_keys_file, or insecure_http: true on "
                   "this line");
           });
         }},
        {"models",
         [&](const Value& v) {
           v.list([&](const Value& item) {
             config.models.push_back(read_model(item, folder));
             for (size_t i = 0; i + 1 < config.models.size(); ++i)
               if (config.models[i].name == config.models.back().name)
                 item.refuse(
                     fmt::format("the name {} is taken by another model; expected a new one",
                                 config.models[i].name));
           });
         }},
        {"cache", [&](const Value& v) { read_cache(v, config); }},
        {"security",
         [&](const Value& v) {
           v.map({
               {"api_keys_file", [&](const Value& w) { config.api_keys_file = w.path(folder); }},
               {"certs", [&](const Value& w) { config.certs = w.path(folder); }},
           });
         }},
        {"limits", [&](const Value& v) { read_limits(v, config.limits); }},
    });
    if (auto checked = check_cluster_config(config); !checked)
      lines.refuse(checked.error().param, checked.error().message);
  } catch (const Refusal& refusal) {
    return fail(ErrorCode::invalid_argument, refusal.message, refusal.key);
  } catch (const YAML::Exception& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}:{}: config: expected YAML, found: {}", file,
                            std::max(error.mark.line + 1, 1), error.msg));
  }
  return config;
}

}  // namespace troupe
