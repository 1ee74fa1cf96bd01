#include "net/http_message.h"

#include "net/json_writer.h"

namespace troupe {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

std::string_view HttpRequest::header(std::string_view name) const {
  for (const HttpHeader& header : headers)
    if (equal_ignoring_case(header.name, name)) return header.value;
  return {};
}

std::optional<std::string_view> HttpRequest::query_value(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    const size_t equals = pair.find('=');
    if (pair.substr(0, equals) == name)
      return equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
  }
  return std::nullopt;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

WireError wire_error(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return {400, "invalid_request_error", "invalid_value"};
    case ErrorCode::unauthenticated:
      return {401, "authentication_error", "invalid_api_key"};
    case ErrorCode::permission_denied:
      return {403, "permission_error", "permission_denied"};
    case ErrorCode::not_found:
      return {404, "invalid_request_error", "not_found"};
    case ErrorCode::conflict:
      return {409, "invalid_request_error", "conflict"};
    case ErrorCode::too_large:
      return {413, "invalid_request_error", "too_large"};
    case ErrorCode::rate_limited:
      return {429, "rate_limit_error", "rate_limit_exceeded"};
    case ErrorCode::unavailable:
      return {503, "service_unavailable", "unavailable"};
    case ErrorCode::deadline_exceeded:
      return {504, "timeout_error", "deadline_exceeded"};
    case ErrorCode::cancelled:
      return {503, "service_unavailable", "cancelled"};
    case ErrorCode::aborted:
      return {503, "service_unavailable", "aborted"};
    case ErrorCode::unsupported:
      return {400, "invalid_request_error", "unsupported_value"};
    case ErrorCode::data_loss:
      return {500, "server_error", "data_loss"};
    case ErrorCode::internal:
      return {500, "server_error", "internal_error"};
  }
  return {500, "server_error", "internal_error"};
}

namespace {

std::string body_of(std::string_view message, std::string_view type, std::string_view param,
                    std::string_view code) {
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .key("error")
      .begin_object()
      .field("message", message)
      .field("type", type)
      .key("param");
  if (param.empty())
    json.null();
  else
    json.string(param);
  json.field("code", code).end_object().end_object();
  return body;
}

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 408:
      return "timeout_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "service_unavailable";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::string error_body(const Error& error, std::string_view code) {
  const WireError wire = wire_error(error.code);
  return body_of(error.message, wire.type, error.param, code.empty() ? wire.code : code);
}

HttpResponse error_response(int status, std::string message, std::string_view code) {
  HttpResponse response;
  response.status = status;
  if (status != 408 && status != 429 && status != 503)
    response.headers.push_back({"x-should-retry", "false"});
  response.body = body_of(message, type_of(status), {}, code);
  return response;
}

HttpResponse error_response(const Error& error, std::string_view code) {
  HttpResponse response;
  response.status = wire_error(error.code).status;
  response.headers.push_back({"x-should-retry", "false"});
  response.body = error_body(error, code);
  return response;
}

}  // namespace troupe
