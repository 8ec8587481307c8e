{# dbt sends the strategy delete+insert as two statements in one request. A request to Airstrip runs one, at once and as a
   whole: MERGE is that, for a key that is unique in the new rows. #}
{% macro qod__get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) -%}
  {{ get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) }}
{%- endmacro %}
