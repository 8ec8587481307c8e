{{ config(materialized='incremental', unique_key='id', incremental_strategy='delete+insert') }}
select id, amount, changed_at
from {{ ref('orders_view') }}
{% if is_incremental() %}
where changed_at > (select max(changed_at) from {{ this }})
{% endif %}
