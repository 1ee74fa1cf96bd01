#include "config/cluster_config.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace troupe;

namespace cluster_config_test {
namespace {

constexpr const char* kGood = R"(cluster: demo
nodes:
  - {name: n1, host: 127.0.0.1, control_port: 7401, data_ports: 7410-7449, admin_port: 8081, devices: [cpu:0, cpu:1], seed: true}
routers: [{node: n1, http: "127.0.0.1:8080"}]
models:
  - name: smollm2
    source: models/smollm2.gguf
    groups: 2
cache: {redis: "redis://127.0.0.1:6379"}
limits: {timing_scale: 5, drain: 10s}
)";

std::string replace(std::string text, const std::string& from, const std::string& to) {
  auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string refusal(const std::string& yaml) {
  auto parsed = parse_cluster_config(yaml, "c.yaml", "/base");
  REQUIRE_FALSE(parsed.has_value());
  CHECK(parsed.error().code == ErrorCode::invalid_argument);
  return parsed.error().message;
}

/// A config with something put in another's place, and what is said of it.
struct Misprint {
  const char *from, *to, *says;
};
void check_refused(const std::string& good, const std::vector<Misprint>& table) {
  for (const Misprint& row : table)
    CHECK_MESSAGE(refusal(replace(good, row.from, row.to)) == row.says, row.to);
}

}  // namespace

TEST_CASE("config: a full config is read, with paths relative to its folder") {
  auto parsed = parse_cluster_config(kGood, "c.yaml", "/base");
  REQUIRE(parsed.has_value());
  CHECK(parsed->cluster == "demo");
  CHECK(parsed->nodes.at(0).cpu_slots == 2);
  CHECK(parsed->nodes.at(0).data_ports == PortRange{7410, 7449});
  CHECK(parsed->models.at(0).source == "/base/models/smollm2.gguf");
  CHECK(parsed->limits.timing_scale == 5);
  CHECK(parsed->limits.drain == 10s);
  CHECK(parsed->limits.scaled(100ms) == 500ms);
}

TEST_CASE("config: what is printed parses back to the same config and digest") {
  auto parsed = parse_cluster_config(kGood, "c.yaml", "/base");
  REQUIRE(parsed.has_value());
  auto again = parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/elsewhere");
  REQUIRE_MESSAGE(again.has_value(), (again.has_value() ? std::string() : again.error().message));
  CHECK(*again == *parsed);
  CHECK(config_digest(*again) == config_digest(*parsed));
}

TEST_CASE("config: refusals name file, line, key and what was expected") {
  check_refused(
      kGood,
      {{"groups: 2", "grops: 2",
        "c.yaml:8: models[0].grops: unknown key; expected one of backend, ctx, groups, isa, "
        "kv_dtype, kv_memory, max_batch_tokens, name, oracle_step, pipeline_parallel, sha256, "
        "source, standby, tensor_parallel, threads; did you mean groups?"},
       {"groups: 2", "groups: two",
        "c.yaml:8: models[0].groups: expected a whole number from 1 to 1024"},
       {"timing_scale: 5", "timing_scale: 0",
        "c.yaml:10: limits.timing_scale: expected a number from 1 to 100"},
       {"timing_scale: 5", "timing_scale: nan",
        "c.yaml:10: limits.timing_scale: expected a number from 1 to 100"},
       {"seed: true", "seed: maybe", "c.yaml:3: nodes[0].seed: expected true or false"},
       {"    groups: 2\n", "    groups: 2\n    groups: 1\n",
        "c.yaml:9: models[0].groups: given twice; keep one"},
       {"[cpu:0, cpu:1]", "[cpu:0, cpu:2]",
        "c.yaml:3: nodes[0].devices[1]: expected cpu:1 (devices are counted from cpu:0)"}});
  CHECK(refusal("cluster: [").starts_with("c.yaml:1: config: expected YAML"));
  CHECK(refusal("- 1") == "c.yaml:1: config: expected a map");
  CHECK(refusal("") == "c.yaml:1: config: expected a map");
}

TEST_CASE("config: what the native backend takes is read, and a wrong word gets the right one") {
  const std::string native = replace(kGood, "groups: 2",
                                     "groups: 2\n    backend: native\n    isa: avx2\n    kv_dtype: "
                                     "int8\n    kv_memory: 64MiB\n    threads: 2");
  auto parsed = parse_cluster_config(native, "c.yaml", "/base");
  REQUIRE_MESSAGE(parsed.has_value(), (parsed ? std::string() : parsed.error().message));
  CHECK(parsed->models.at(0).backend == "native");
  CHECK(parsed->models.at(0).isa == "avx2");
  CHECK(parsed->models.at(0).kv_dtype == "int8");
  CHECK(*parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/") == *parsed);
  check_refused(
      native,
      {{"backend: native", "backend: natve",
        "c.yaml:9: models[0].backend: expected one of auto, native, oracle, torch; did you mean "
        "native?"},
       {"isa: avx2", "isa: avx3",
        "c.yaml:10: models[0].isa: expected one of amx, auto, avx2, avx512, scalar; did you mean "
        "avx2?"},
       {"kv_dtype: int8", "kv_dtype: q8_0",
        "c.yaml:11: models[0].kv_dtype: expected one of f16, int8"}});
  CHECK(refusal(replace(native, "backend: native", "backend: torch"))
            .ends_with("expected isa only with backend: native or auto"));
  CHECK(refusal(
            replace(replace(native, "backend: native", "backend: torch"), "isa: avx2", "isa: auto"))
            .ends_with("expected kv_dtype: int8 only with backend: native or auto"));
}

TEST_CASE(
    "config: the hosts a router goes by are read in one form, printed and part of the digest") {
  auto with = [](const std::string& list) {
    return replace(kGood, "8080\"", "8080\", allowed_hosts: " + list);
  };
  auto parsed = parse_cluster_config(
      with(R"([Chat.Example., "chat.example:8443", 192.0.2.7, "::1", "[FD00::7]:80"])"), "c.yaml",
      "/base");
  REQUIRE_MESSAGE(parsed.has_value(), (parsed ? std::string() : parsed.error().message));
  CHECK(parsed->routers.at(0).allowed_hosts == std::vector<HostPort>{{"chat.example", 0},
                                                                     {"chat.example", 8443},
                                                                     {"192.0.2.7", 0},
                                                                     {"::1", 0},
                                                                     {"fd00::7", 80}});
  CHECK(*parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/") == *parsed);
  CHECK(config_digest(*parsed) != config_digest(*parse_cluster_config(kGood, "c.yaml", "/base")));
  for (const char* bad :
       {"https://chat.example", "chat.example/v1", "'*'", "'*.example'", "chat example",
        "'chat.example:'", "'chat.example:0'", "'chat.example:65536'", "':8080'",
        "'[chat.example]'", "'[::1'", "'.'", "'.example'", "caf\u00e9.example"})
    CHECK_MESSAGE(refusal(with(std::string("[localhost, ") + bad + "]")) ==
                      "c.yaml:4: routers[0].allowed_hosts[1]: expected a host name or HOST:PORT as "
                      "clients ask for it, as chat.example; no scheme, path or wildcard",
                  bad);
  CHECK(refusal(with("chat.example")) == "c.yaml:4: routers[0].allowed_hosts: expected a list");
}

TEST_CASE("config: the folder of certificates is read, printed and part of the digest") {
  const std::string with = std::string(kGood) + "security: {certs: pki, api_keys_file: keys.txt}\n";
  auto parsed = parse_cluster_config(with, "c.yaml", "/base");
  REQUIRE_MESSAGE(parsed.has_value(), (parsed ? std::string() : parsed.error().message));
  CHECK(parsed->certs == "/base/pki");
  CHECK(parsed->api_keys_file == "/base/keys.txt");
  CHECK(*parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/") == *parsed);
  CHECK(config_digest(*parsed) != config_digest(*parse_cluster_config(kGood, "c.yaml", "/base")));
  parsed->api_keys_file.clear();
  CHECK(*parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/") == *parsed);
  check_refused(
      with,
      {{"certs: pki", "certs: [pki]", "c.yaml:11: security.certs: expected text"},
       {"certs: pki", "cert: pki",
        "c.yaml:11: security.cert: unknown key; expected one of api_keys_file, certs; did you mean "
        "certs?"}});
}

TEST_CASE("config: what does not exist yet is refused") {
  for (const char* standby : {"warm", "cold"})
    CHECK(refusal(replace(kGood, "groups: 2", std::string("standby: ") + standby)) ==
          "c.yaml:8: models[0].standby: warm and cold standby do not exist yet; remove this key");
  CHECK(parse_cluster_config(replace(kGood, "groups: 2", "standby: active"), "c.yaml", "/")
            .has_value());
  CHECK(refusal(replace(kGood, "cache: {", "cache: {disk: {}, ")) ==
        "c.yaml:9: cache.disk: the disk tier does not exist yet; remove this key");
}

TEST_CASE("config: a path with quotes and control characters is printed so that it parses back") {
  auto parsed = parse_cluster_config(kGood, "c.yaml", "/base");
  REQUIRE(parsed.has_value());
  parsed->models.at(0).source = "/a \"b\"\\c\n\x01: #\xc3\xa9";
  auto again = parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/");
  REQUIRE_MESSAGE(again.has_value(), (again ? std::string() : again.error().message));
  CHECK(*again == *parsed);
}

TEST_CASE("config: duplicate names and addresses are refused") {
  const std::string two = replace(
      kGood, "seed: true}\n", "seed: true}\n  - {name: n1, host: 127.0.0.1, control_port: 7402}\n");
  CHECK(refusal(two) ==
        "c.yaml:4: nodes[1]: the name n1 is taken by another node; expected a new one");
  CHECK(refusal(replace(two, "name: n1, host: 127.0.0.1, control_port: 7402",
                        "name: n2, host: 127.0.0.1, control_port: 7401")) ==
        "c.yaml:4: nodes[1].control_port: 127.0.0.1:7401 is taken by nodes[0].control_port; "
        "expected another port");
  CHECK(refusal(std::string(kGood) + "# end\n" + "models: []\n") ==
        "c.yaml:12: models: given twice; keep one");
}

TEST_CASE("config: ports that two processes of one machine would listen on are refused") {
  check_refused(
      kGood,
      {{"admin_port: 8081", "admin_port: 7401",
        "c.yaml:3: nodes[0].admin_port: 127.0.0.1:7401 is taken by nodes[0].control_port; expected "
        "another port"},
       {"control_port: 7401", "control_port: 7449",
        "c.yaml:3: nodes[0].data_ports: 127.0.0.1:7449 is taken by nodes[0].control_port; expected "
        "another range"},
       {"127.0.0.1:8080", "localhost:8081",
        "c.yaml:4: routers[0].http: 127.0.0.1:8081 is taken by nodes[0].admin_port; expected "
        "another port"},
       {"\"127.0.0.1:8080\"", "\"0.0.0.0:7410\", insecure_http: true",
        "c.yaml:4: routers[0].http: 0.0.0.0:7410 is taken by nodes[0].data_ports; expected another "
        "port"},
       {"\"127.0.0.1:8080\"", "\"[::]:8081\", insecure_http: true",
        "c.yaml:4: routers[0].http: [::]:8081 is taken by nodes[0].admin_port; expected another "
        "port"}});
  const std::string two =
      replace(kGood, "seed: true}\n",
              "seed: true}\n  - {name: n2, host: 127.0.0.1, control_port: 7402, data_ports: "
              "7420-7421}\n");
  CHECK(refusal(two) ==
        "c.yaml:4: nodes[1].data_ports: 127.0.0.1:7420 is taken by nodes[0].data_ports; expected "
        "another range");
  const std::string one_door = replace(replace(two, "data_ports: 7420-7421", "admin_port: 8082"),
                                       "8080\"}", "8080\"}, {node: n2, http: \"127.0.0.1:8080\"}");
  CHECK(refusal(one_door) ==
        "c.yaml:5: routers[1].http: 127.0.0.1:8080 is taken by routers[0].http; expected another "
        "port");
  check_refused(
      one_door,
      {{"admin_port: 8082", "admin_port: 8081",
        "c.yaml:4: nodes[1].admin_port: 127.0.0.1:8081 is taken by nodes[0].admin_port; expected "
        "another port"},
       {"node: n2, http", "node: n1, http",
        "c.yaml:5: routers[1]: node n1 has a router already; expected one router a node"}});
}

TEST_CASE("config: equal ports of different machines, and of different addresses, are fine") {
  const std::string hosts = replace(
      replace(kGood, "host: 127.0.0.1, control_port: 7401", "host: 10.0.0.1, control_port: 7401"),
      "seed: true}\n",
      "seed: true}\n  - {name: n2, host: 10.0.0.2, control_port: 7401, data_ports: 7410-7449, "
      "admin_port: 8081}\n");
  const std::string doors = replace(hosts, "\"127.0.0.1:8080\"}",
                                    "\"0.0.0.0:8080\", insecure_http: true}, "
                                    "{node: n2, http: \"0.0.0.0:8080\", insecure_http: true}");
  for (const std::string& yaml :
       {hosts, doors, replace(hosts, "admin_port: 8081, devices", "admin_port: 7401, devices"),
        replace(kGood, "\"127.0.0.1:8080\"", "\"[::1]:8081\""),
        replace(kGood, "127.0.0.1:8080", "127.0.0.1:0")}) {
    auto parsed = parse_cluster_config(yaml, "c.yaml", "/");
    CHECK_MESSAGE(parsed.has_value(), (parsed ? std::string() : parsed.error().message));
  }
}

TEST_CASE("config: impossible layouts are refused with the count needed") {
  check_refused(kGood,
                {{"groups: 2", "groups: 3",
                  "c.yaml:5: models: the models need 3 device slots (groups x tensor_parallel x "
                  "pipeline_parallel), "
                  "the nodes have 2; expected more devices or fewer groups"},
                 {"node: n1, http", "node: n9, http",
                  "c.yaml:4: routers[0].node: node n9 is not in nodes; expected one of them"}});
}

TEST_CASE("config: what only the whole config shows is refused at the line of its entry") {
  const std::string second = "  - {name: n2, host: 10.0.0.2}\n";
  CHECK(refusal(replace(kGood, "seed: true}\n", "seed: true}\n" + second)) ==
        "c.yaml:4: nodes[1].control_port: expected the port of the link on node n2, because there "
        "are several nodes");
  CHECK(refusal(
            replace(kGood, "127.0.0.1:8080\"", "0.0.0.0:8080\", tls: {cert: c.pem, key: k.pem}")) ==
        "c.yaml:4: routers[0].http: expected API keys (security.api_keys_file), because "
        "0.0.0.0:8080 is not a loopback address");
  const std::string routers = "routers: [{node: n1, http: \"127.0.0.1:8080\"}]\n";
  CHECK(refusal(replace(kGood, routers,
                        "routers:\n  - {node: n1, http: \"127.0.0.1:8080\"}\n\n  - node: n7\n"
                        "    http: 127.0.0.1:8082\n")) ==
        "c.yaml:7: routers[1].node: node n7 is not in nodes; expected one of them");
  CHECK(refusal(replace(kGood, routers, "routers: []\n"))
            .starts_with("c.yaml:4: routers: expected at least one router"));
}

TEST_CASE("config: a missing section is refused at the first key of the file") {
  CHECK(refusal("# a comment\n\ncluster: demo\n") == "c.yaml:3: nodes: expected at least one node");
  CHECK(refusal(replace(kGood, "cluster: demo\n", "# no name\n")) ==
        "c.yaml:2: cluster: expected the cluster's name");
}

TEST_CASE("config: layouts that no backend runs are refused with the nearest one") {
  const auto with = [](const std::string& lines) {
    return replace(kGood, "groups: 2", "groups: 1\n    " + lines);
  };
  const std::string wide = refusal(with("tensor_parallel: 13\n    pipeline_parallel: 5"));
  CHECK(wide.ends_with(
      "models[0]: expected at most 64 ranks a group, tensor_parallel x pipeline_parallel, not 65; "
      "the nearest layout is tensor_parallel 13 with pipeline_parallel 4"));
  CHECK(refusal(with("tensor_parallel: 100"))
            .ends_with("the nearest layout is tensor_parallel 64 with pipeline_parallel 1"));
  CHECK(refusal(with("tensor_parallel: 2\n    backend: torch"))
            .ends_with("models[0]: expected backend: native for several ranks a group; torch takes "
                       "tensor_parallel 1 with pipeline_parallel 1"));
}

TEST_CASE("config: a bind beyond loopback needs TLS and keys, or a line that says otherwise") {
  CHECK(refusal(replace(kGood, "127.0.0.1:8080", "0.0.0.0:8080")) ==
        "c.yaml:4: routers[0]: a bind beyond loopback needs tls and api_keys_file, or "
        "insecure_http: true "
        "on this line");
  auto allowed = parse_cluster_config(
      replace(kGood, "\"127.0.0.1:8080\"", "\"0.0.0.0:8080\", insecure_http: true"), "c.yaml", "/");
  CHECK(allowed.has_value());
  CHECK(refusal(replace(kGood, "redis://127.0.0.1:6379", "redis://10.1.2.3:6379"))
            .starts_with("c.yaml:9: cache: redis:// to another host is unencrypted"));
}

TEST_CASE("config: groups of a model spread over nodes, a group stays together") {
  ClusterConfig config;
  config.cluster = "c";
  for (const char* name : {"a", "b", "c"}) {
    NodeConfig node;
    node.name = name;
    node.host = "127.0.0.1";
    node.cpu_slots = 2;
    node.control_port = static_cast<uint16_t>(7000 + config.nodes.size());
    config.nodes.push_back(node);
  }
  ModelConfig model;
  model.name = "m";
  model.backend = "oracle";
  model.groups = 3;
  model.tensor_parallel = 2;
  config.models.push_back(model);
  auto placed = place_groups(config);
  REQUIRE(placed.has_value());
  REQUIRE(placed->size() == 3);
  for (const auto& group : *placed) CHECK(group.rank_nodes.at(0) == group.rank_nodes.at(1));
  CHECK(placed->at(0).rank_nodes.at(0) != placed->at(1).rank_nodes.at(0));
  CHECK(placed->at(1).rank_nodes.at(0) != placed->at(2).rank_nodes.at(0));
}

TEST_CASE("config: host and port in all spellings") {
  CHECK(parse_host_port("127.0.0.1:80") == HostPort{"127.0.0.1", 80});
  CHECK(parse_host_port("[::1]:8080") == HostPort{"::1", 8080});
  CHECK_FALSE(parse_host_port("::1:8080").has_value());
  CHECK_FALSE(parse_host_port(":8080").has_value());
  CHECK_FALSE(parse_host_port("host:65536").has_value());
  CHECK_FALSE(parse_host_port("host:").has_value());
  CHECK(to_string(HostPort{"::1", 1}) == "[::1]:1");
  CHECK(is_loopback("127.9.9.9"));
  CHECK_FALSE(is_loopback("128.0.0.1"));
}

TEST_CASE("config: sha256 is that of one file") {
  const std::string hex(64, 'a');
  const std::string with = replace(kGood, "groups: 2", "sha256: " + hex);
  const auto parsed = parse_cluster_config(with, "c.yaml", "/base");
  REQUIRE(parsed.has_value());
  CHECK(to_hex(*parsed->models.at(0).sha256) == hex);
  CHECK(*parse_cluster_config(print_cluster_config(*parsed), "p.yaml", "/") == *parsed);
  CHECK(refusal(replace(kGood, "groups: 2", "sha256: " + hex + "a")) ==
        "c.yaml:8: models[0].sha256: expected 64 hex digits");
  const std::string one_file =
      "expected sha256 only with a source that is one file, as a GGUF file; leave it out for a "
      "directory";
  CHECK(refusal(replace(with, "source: models/smollm2.gguf", "source: /tmp")) ==
        "c.yaml:6: models[0]: " + one_file);
  CHECK(refusal(replace(with, "source: models/smollm2.gguf", "backend: oracle")) ==
        "c.yaml:6: models[0]: " + one_file);
}

}  // namespace cluster_config_test
