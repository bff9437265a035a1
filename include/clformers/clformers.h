/* clformers: attention mechanisms and transformer parts for every OpenCL device.
 *
 * This header includes the whole public interface; each of the small headers may also be
 * included alone. Every function returns a clf_status unless it cannot fail, never prints and
 * never ends the process; clf_error_message() says what went wrong and where.
 */
#ifndef CLFORMERS_CLFORMERS_H
#define CLFORMERS_CLFORMERS_H

#include <clformers/component.h>
#include <clformers/config.h>
#include <clformers/decoding.h>
#include <clformers/device.h>
#include <clformers/fused.h>
#include <clformers/instance.h>
#include <clformers/log.h>
#include <clformers/pattern.h>
#include <clformers/plan.h>
#include <clformers/plugin.h>
#include <clformers/registry.h>
#include <clformers/safetensors.h>
#include <clformers/status.h>
#include <clformers/tensor.h>
#include <clformers/version.h>

#endif
