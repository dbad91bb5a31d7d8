/*
 * The stand-in's custom attributes of contacts: which there are, of which type, and their values.
 *
 * Unless attributes are strict, any name and type will do. A name that was only seen in a call is
 * remembered too, and not listed.
 */

#include "support/standin_private.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SEED 0xa7

void attributes_clear(struct standin *standin)
{
	while (standin->names) {
		struct attribute_name *name = standin->names;
		standin->names = name->next;
		free(name->name);
		free(name->data_type);
		free(name);
	}
	lookup_finish(&standin->by_name);
}

struct attribute_name *attributes_name(struct standin *standin, const char *name)
{
	const uint64_t hash = text_hash(name, strlen(name), NAME_SEED);
	struct lookup_node *node = lookup_first(&standin->by_name, hash);
	for (; node; node = lookup_next(node)) {
		struct attribute_name *found = node->item;
		if (strcmp(found->name, name) == 0)
			return found;
	}
	struct attribute_name *added = xcalloc(1, sizeof(*added));
	added->name = xstrdup(name);
	*standin->names_end = added;
	standin->names_end = &added->next;
	lookup_add(&standin->by_name, &added->by_name, hash, added);
	return added;
}

void standin_add_attribute(struct standin *standin, const char *name, const char *data_type)
{
	struct attribute_name *attribute = attributes_name(standin, name);
	attribute->exists = true;
	if (!attribute->id)
		attribute->id = ++standin->attribute_count;
	free(attribute->data_type);
	attribute->data_type = xstrdup(data_type);
}

static struct attribute_value *value_of(
	const struct contact *contact, const struct attribute_name *name)
{
	for (size_t i = 0; i < contact->value_count; i++)
		if (contact->values[i].name == name)
			return &contact->values[i];
	return NULL;
}

static void set_value(struct contact *contact, struct attribute_name *name, const json_t *json)
{
	struct attribute_value *value = value_of(contact, name);
	if (json_is_null(json)) {
		if (!value)
			return;
		free(value->json);
		const size_t at = (size_t)(value - contact->values);
		memmove(value, value + 1, (contact->value_count - at - 1) * sizeof(*value));
		contact->value_count--;
		return;
	}
	if (!value) {
		contact->values = xrealloc(
			contact->values, (contact->value_count + 1) * sizeof(*contact->values));
		value = &contact->values[contact->value_count++];
		*value = (struct attribute_value){.name = name};
	}
	free(value->json);
	value->json = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
}

void attributes_set(struct standin *standin, struct contact *contact, json_t *attributes)
{
	if (standin->options.light)
		return;
	for (void *i = json_object_iter(attributes); i; i = json_object_iter_next(attributes, i)) {
		const char *name = json_object_iter_key(i);
		json_t *value = json_object_iter_value(i);
		set_value(contact, attributes_name(standin, name), value);
	}
}

static bool type_fits(const char *data_type, const json_t *value)
{
	if (json_is_null(value))
		return true;
	if (strcmp(data_type, "integer") == 0 || strcmp(data_type, "datetime") == 0 ||
		strcmp(data_type, "date") == 0)
		return json_is_integer(value);
	if (strcmp(data_type, "float") == 0)
		return json_is_number(value);
	if (strcmp(data_type, "boolean") == 0)
		return json_is_boolean(value);
	return json_is_string(value);
}

void attributes_check(struct exchange_state *x, const char *name, const json_t *value)
{
	if (json_is_object(value) || json_is_array(value))
		standin_violate(x, "custom attribute '%s' is nested", name);
	if (json_is_string(value) && standin_characters(json_string_value(value)) > TEXT_MAX)
		standin_violate(x, "custom attribute '%s' is longer than 255 characters", name);
	if (!*name || strpbrk(name, ".$"))
		standin_violate(x, "custom attribute '%s' has a name that can't be", name);
	if (!x->standin->options.strict_attributes || x->has_error)
		return;
	const struct attribute_name *attribute = attributes_name(x->standin, name);
	if (!attribute->exists)
		standin_fail(
			x, 400, "parameter_invalid", "Custom attribute '%s' does not exist", name);
	else if (!type_fits(attribute->data_type, value))
		standin_fail(x, 400, "parameter_invalid", "Custom attribute '%s' is not of type %s",
			name, attribute->data_type);
}

static void write_attribute(struct buf *body, const struct attribute_name *attribute)
{
	buf_addf(body,
		"{\"type\":\"data_attribute\",\"id\":%lld,\"model\":\"contact\",\"name\":\"%s\","
		"\"full_name\":\"custom_attributes.%s\",\"label\":\"%s\",\"description\":\"\","
		"\"data_type\":\"%s\",\"api_writable\":true,\"messenger_writable\":false,"
		"\"ui_writable\":true,\"custom\":true,\"archived\":false}",
		(long long)attribute->id, attribute->name, attribute->name, attribute->name,
		attribute->data_type);
}

static bool name_is_allowed(const char *name)
{
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("_- ", *name) &&
			!((unsigned char)*name & 0x80))
			return false;
	return true;
}

void attributes_create(struct exchange_state *x)
{
	static const char *const known[] = {
		"name", "model", "data_type", "description", "options", "messenger_writable", NULL};
	static const char *const standard[] = {
		"name", "email", "phone", "role", "external_id", "created_at", "id", NULL};
	static const char *const types[] = {
		"string", "integer", "float", "boolean", "datetime", "date", "options", NULL};
	standin_check_keys(x, x->body, known);
	const char *name = standin_body_text(x, "name");
	const char *type = standin_body_text(x, "data_type");
	if (!name)
		standin_violate(x, "no name");
	if (!text_equal(standin_body_text(x, "model"), "contact") &&
		!text_equal(standin_body_text(x, "model"), "company"))
		standin_violate(x, "model field must be either contact or company");
	size_t i = 0;
	while (types[i] && !text_equal(types[i], type))
		i++;
	if (!types[i])
		standin_violate(x, "Data Type isn't an option");
	if (!name || x->has_error)
		return;
	if (!name_is_allowed(name))
		standin_violate(x,
			"Your name for this attribute must only contain alphanumeric "
			"characters, currency symbols, and hyphens");
	for (i = 0; standard[i]; i++)
		if (strcmp(standard[i], name) == 0)
			standin_violate(x, "'%s' is one of our standard attributes", name);
	if (x->has_error)
		return;
	if (attributes_name(x->standin, name)->exists) {
		standin_fail(x, 400, "parameter_invalid",
			"You already have '%s' in your people data. To save this as new people "
			"data, use a "
			"different name.",
			name);
		return;
	}
	standin_add_attribute(x->standin, name, type);
	write_attribute(&x->answer->body, attributes_name(x->standin, name));
}

void attributes_list(struct exchange_state *x)
{
	struct buf *body = &x->answer->body;
	buf_add_text(body,
		"{\"type\":\"list\",\"data\":[{\"type\":\"data_attribute\",\"model\":\"contact\","
		"\"name\":\"email\",\"full_name\":\"email\",\"label\":\"Email\",\"data_type\":"
		"\"string\","
		"\"api_writable\":true,\"messenger_writable\":true,\"ui_writable\":true,\"custom\":"
		"false,"
		"\"archived\":false}");
	const bool companies = strstr(x->request->path, "model=company") != NULL;
	for (const struct attribute_name *name = x->standin->names; name && !companies;
		name = name->next) {
		if (!name->exists)
			continue;
		buf_add_char(body, ',');
		write_attribute(body, name);
	}
	buf_add_text(body, "]}");
}
